# shellcheck shell=dash disable=SC2034 # other files use the variables
# Shared by /init and the userland: kernel command line, console messages, beacons.
#
# A beacon reports the progress of this PC to the server:
#   POST $server/beacon/$ticket/STAGE?uptime=SECONDS&sent=SECONDS
# Its body is plain text: a line for people, then key=value lines for scripts. Beacons wait in $queue
# while $online is "no" or "later", and while the server does not answer. They keep their order and
# the uptime of their making; sent= is the uptime of sending, so the server knows their age.
#
# $server is http://ADDRESS:PORT, or http://ADDRESS,ADDRESS:PORT of two boot servers. The first one is
# asked first, and the other one once if that gives no answer. The agent does the same with such a URL.

: "${proc:=/proc}" "${sys:=/sys}" "${run:=/run}" # tests set them
queue=$run/beacons
conf=$run/netboot.conf
server='' ticket='' token='' online=no uptime=0 value=''
cmdline='' signed='' # the lines that `argument` has read
clock=no # yes: the server's time is known
users=no # yes: users may look at the list of processes
newline='
'

# argument KEY: set $value to the value of KEY on the kernel command line, empty if KEY is missing. The
# last of several values wins, so that appending a word to the command line overrides the others. The
# words that a server has signed for this seat come last (words.sh). Each line is read once, because the
# shell reads a byte at a time, with two system calls for each.
argument() {
    local word
    value=''
    [ -n "$cmdline" ] || read -r cmdline <"$proc/cmdline"
    [ -n "$signed" ] || [ ! -e "$run/words" ] || read -r signed <"$run/words"
    set -f
    for word in $cmdline $signed; do
        case $word in "$1="*) value=${word#*=} ;; esac
    done
    set +f
}

# hide_arguments: leave no secret on the kernel command line, which all users can read: no word with
# $ticket or $token in it (GRUB adds BOOT_IMAGE=, a path with a ticket), and not the place of the swap.
# The kernel's log has the command line too. A mount can be undone by root only, and who may not undo
# it may not mount another /proc either (mount_too_revealing in fs/namespace.c).
hide_arguments() {
    local line word file shown=''
    read -r line <"$proc/cmdline"
    set -f
    for word in $line; do
        # A word has no blank: an empty $ticket matches none.
        case $word in
        netboot.ticket=* | netboot.token=* | netboot.swap=* | *"${ticket:- }"* | *"${token:- }"*) ;;
        *) shown="$shown${shown:+ }$word" ;;
        esac
    done
    set +f
    (umask 022 && echo "$shown" >"$run/cmdline.shown")
    rm -f "$run/words"
    # ARM has it also in its device tree.
    for file in "$proc/cmdline" "$sys/firmware/devicetree/base/chosen/bootargs"; do
        [ ! -e "$file" ] || mount -o bind "$run/cmdline.shown" "$file" ||
            console "$file shows the secrets of this boot to all users"
    done
    echo 1 >"$proc/sys/kernel/dmesg_restrict"
}

# address VALUE: return true if VALUE is a dotted IPv4 address.
address() {
    local left=$1. octet count=0
    while [ -n "$left" ]; do
        octet=${left%%.*} left=${left#*.}
        case $octet in '' | *[!0-9]* | ????*) return 1 ;; esac
        [ "$octet" -le 255 ] || return 1
        count=$((count + 1))
    done
    [ $count = 4 ]
}

# prefix NETMASK: set $value to the netmask's length in bits. Return false if NETMASK is not a netmask.
prefix() {
    local left=$1. octet bits ended=no
    value=0
    address "$1" || return 1
    while [ -n "$left" ]; do
        octet=${left%%.*} left=${left#*.}
        case $octet in
        255) bits=8 ;; 254) bits=7 ;; 252) bits=6 ;; 248) bits=5 ;; 240) bits=4 ;;
        224) bits=3 ;; 192) bits=2 ;; 128) bits=1 ;; 0) bits=0 ;;
        *) return 1 ;;
        esac
        [ $ended = no ] || [ $bits = 0 ] || return 1
        [ $bits = 8 ] || ended=yes
        value=$((value + bits))
    done
}

# static_address: read ip=CLIENT:SERVER:GATEWAY:NETMASK:HOSTNAME:DEVICE:AUTOCONF, the kernel's own
# notation (nfsroot.rst), into $client, $gateway, $bits and $hostname. Return false if CLIENT or
# NETMASK is missing or wrong. A room without a router has no GATEWAY.
static_address() {
    local netmask
    argument ip
    IFS=: read -r client _ gateway netmask hostname _ <<EOF
$value
EOF
    address "$client" && prefix "$netmask" || return 1
    bits=$value
    address "$gateway" || gateway=''
}

# first_server: set $value to the URL of the boot server that is asked first.
first_server() {
    value=${server%%,*}
    [ "$value" = "$server" ] || value=$value:${server##*:}
}

# other_server: ask the other boot server first from now on. Return false if there is one only.
other_server() {
    local hosts=${server%:*}
    hosts=${hosts#http://}
    [ "$hosts" != "${hosts#*,}" ] || return 1
    server=http://${hosts#*,},${hosts%%,*}:${server##*:}
}

# read_uptime: set $uptime to the seconds since the kernel started, such as 3.21.
read_uptime() {
    read -r uptime _ <"$proc/uptime"
}

# read_ram: set $ram to the bytes of RAM that are plugged in. MemTotal of /proc/meminfo is smaller,
# because it lacks the kernel's own memory: a fifth of 256 MiB.
read_ram() {
    local range name
    ram=0
    while read -r range _ name; do
        [ "$name" = 'System RAM' ] || continue
        ram=$((ram + 0x${range#*-} - 0x${range%-*} + 1))
    done <"$proc/iomem"
}

# console MESSAGE: print one line for the person in front of the PC.
console() {
    read_uptime
    printf 'netboot: [%7s] %s\n' "$uptime" "$*"
}

# beacon STAGE MESSAGE [KEY=VALUE...]: report to the server. Takes at most 2 s for each server (see
# send_beacons) and never fails.
beacon() {
    local stage=$1 sequence=0
    shift
    [ -n "$server" ] || return 0
    read_uptime
    # The number is in a file, because /init, the userland and its programs share the queue.
    [ ! -e "$run/sequence" ] || read -r sequence <"$run/sequence"
    sequence=$((sequence + 1))
    echo "$sequence" >"$run/sequence"
    printf '%s\n' "$@" >"$queue/$((100000 + sequence))_${stage}_$uptime"
    [ "$online" != yes ] || send_beacons || true
}

# log_tail: print the last lines of the kernel's log, each as console=LINE, for the beacon of a failure. The
# agent's and the drivers' words are there. The server keeps 1 KiB of a beacon. A line that may have a secret
# is left out: of the kernel command line, of netboot.ticket and netboot.token, and of what they are.
log_tail() {
    dmesg 2>/dev/null | grep -vF -e 'ommand line' -e netboot.t \
        -e "${ticket:-netboot.t}" -e "${token:-netboot.t}" | tail -n 7 | cut -c 1-96 | sed 's/^/console=/'
}

# send_beacons: send the queued beacons, the oldest first. Return false if a beacon is left. Stop at the
# first failure: without a server each stage then loses only 2 s, or 4 s without both.
send_beacons() {
    local file
    [ "$online" != no ] || return 1
    for file in "$queue"/*; do
        # Another program may send and remove a beacon at the same time.
        [ -e "$file" ] || continue
        send_beacon "$file" || [ ! -e "$file" ] || return 1
    done
}

# send_beacon FILE: send one beacon and remove it. Return false if no server takes the beacon. Each one
# has 2 s for it.
send_beacon() {
    local name=${1##*/}
    name=${name#*_}
    read_uptime
    name="/beacon/$ticket/${name%_*}?uptime=${name##*_}&sent=$uptime"
    if [ $users = yes ]; then
        request POST "$name" 2 "$1" >/dev/null || return 1
    else
        post_beacon "$name" "$1" || { other_server && post_beacon "$name" "$1"; } || return 1
    fi
    rm "$1"
    [ $users = yes ] || set_clock
}

# post_beacon PATH FILE: send one beacon to the first server.
post_beacon() {
    first_server
    timeout 2 wget -q -S -O /dev/null --post-file "$2" "$value$1" 2>"$run/answer"
}

# set_clock: set this PC's clock by the headers of the server's answer in $run/answer, once a boot, if it
# is wrong by more than a minute. With a clock of years ago no certificate is valid yet.
set_clock() {
    local key word date='' month server_time own_time before
    [ $clock = no ] && [ -e "$run/answer" ] || return 0
    while read -r key word; do
        case $key in [Dd]ate:) date=$word ;; esac
    done <"$run/answer"
    rm -f "$run/answer"
    # Such as: Sun, 29 Nov 2026 03:20:30 GMT (RFC 9110, section 5.6.7).
    case $date in ???,\ [0-3][0-9]\ ???\ 20[0-9][0-9]\ [0-9][0-9]:[0-9][0-9]:[0-9][0-9]\ GMT*) ;; *) return 0 ;; esac
    # shellcheck disable=SC2086 # a list of words
    set -- $date
    case $3 in
    Jan) month=01 ;; Feb) month=02 ;; Mar) month=03 ;; Apr) month=04 ;; May) month=05 ;; Jun) month=06 ;;
    Jul) month=07 ;; Aug) month=08 ;; Sep) month=09 ;; Oct) month=10 ;; Nov) month=11 ;; Dec) month=12 ;;
    *) return 0 ;;
    esac
    date="$4-$month-$2 $5"
    server_time=$(date -u -d "$date" +%s) && own_time=$(date -u +%s) || return 0
    clock=yes
    [ $((server_time - own_time)) -gt 60 ] || [ $((own_time - server_time)) -gt 60 ] || return 0
    before=$(date -u "+%Y-%m-%d %H:%M")
    date -u -s "$date" >/dev/null || return 0
    console "clock: set to $date UTC, the server's time; it was $before"
    beacon init:clock "set to $date UTC; it was $before" "wrong_seconds=$((server_time - own_time))"
}

# name_servers WORD... : set $dns to the addresses among the words, separated by blanks.
name_servers() {
    local word
    dns=''
    for word in "$@"; do
        ! address "$word" || dns="$dns${dns:+ }$word"
    done
}

# domain_name TEXT: set $domain to TEXT if it is a domain, otherwise to nothing.
domain_name() {
    domain=''
    case $1 in '' | *[!A-Za-z0-9.-]*) ;; *) domain=$1 ;; esac
}

# request METHOD PATH SECONDS [FILE]: send a request, with FILE as its body, and print the answer's last
# line. Return false unless a server answers 200. Each one has SECONDS for it.
request() {
    ask_first "$@" || { other_server && ask_first "$@"; }
}

# ask_first METHOD PATH SECONDS [FILE]: do so with the first server. All users can see the words of wget,
# but PATH has the ticket, with which they could speak for this PC.
ask_first() {
    local pipe answer length=0 address
    first_server
    address=${value#http://}
    # A beacon may be gone: another program has sent it while the first server did not answer.
    [ -z "${4:-}" ] || length=$(wc -c 2>/dev/null <"$4") || return 1
    pipe=$(mktemp -u "$run/request.XXXXXX") # a name only: mkfifo refuses one that is taken
    (umask 077 && mkfifo "$pipe") || return 1
    # Open for writing as long as nc runs: the server would take the end of nc's input for a hang-up.
    exec 6<>"$pipe"
    rm "$pipe"
    printf '%s %s HTTP/1.0\r\nContent-Length: %s\r\n\r\n' "$1" "$2" "$length" >&6
    [ -z "${4:-}" ] || cat "$4" >&6
    answer=$(timeout "$3" nc "${address%:*}" "${address##*:}" <&6 2>/dev/null)
    exec 6>&-
    case $answer in HTTP/1.?' 200 '*) ;; *) return 1 ;; esac
    printf '%s' "${answer##*"$newline"}"
}

# report_userland: report that programs run now, and the memory that they have.
report_userland() {
    local key kib ram_kib=0 swap_kib=0 said
    while read -r key kib _; do
        case $key in
        MemTotal:) ram_kib=$kib ;;
        SwapTotal:) swap_kib=$kib ;;
        esac
    done <"$proc/meminfo"
    said="$((ram_kib >> 10)) MiB of RAM for programs, $((swap_kib >> 10)) MiB of swap"
    console "userland: $said"
    beacon userland "$said" "ram_kib=$ram_kib" "swap_kib=$swap_kib"
}

# report_off [HOW]: report that this PC is shut down, such as for a reboot. A PC that said nothing would count
# as lost. It takes at most 2 s for each server, and systemd ends it after 1.5 s: no PC waits for its server to go off.
report_off() {
    beacon off "${1:-shutdown}: the system ends" ${1:+"how=$1"}
}

# show_order ORDER: have the screen show a message for a minute, or blink with the PC's name for 20 s. On a
# PC without a screen of its own the console has it.
show_order() {
    local seconds=60 name=
    case $1 in
    identify)
        seconds=20
        read -r name <"$proc/sys/kernel/hostname"
        console "this is $name$(printf '\a')"
        ;;
    *) console "$1" ;;
    esac
    read_uptime
    printf '%s\n%s\n' "$((${uptime%.*} + seconds))" "$1" >"$run/screen.order.new"
    mv "$run/screen.order.new" "$run/screen.order" # at once: it is read each second
}

# take_orders: wait for the server's orders until the PC goes off. The PC has no disk to unmount, so an
# order may be carried out at once; systemd stops its services first.
take_orders() {
    local order
    while :; do
        order=$(request GET "/orders/$ticket?can=message,identify" 120) || sleep 15
        case $order in
        'message '?* | identify) show_order "$order" ;;
        reboot | poweroff)
            console "$order: ordered by the server"
            if [ -d "$run/systemd/system" ]; then
                systemctl "$order"
            else
                report_off "$order"
                "$order" -f
            fi
            ;;
        esac
        sleep 1
    done
}

# save_conf: write the settings that the userland's beacons need to a file that only root can read. The
# file does not contain the swap token.
save_conf() {
    (umask 077 && printf 'server=%s\nticket=%s\nonline=%s\n' "$server" "$ticket" "$online" >"$conf")
}

# load_conf: read that file, in a userland.
load_conf() {
    local key word
    users=yes
    while IFS='=' read -r key word; do
        case $key in
        server) server=$word ;;
        ticket) ticket=$word ;;
        online) online=$word ;;
        esac
    done <"$conf"
}
