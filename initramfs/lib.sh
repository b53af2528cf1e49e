# shellcheck shell=dash disable=SC2034 # variables that others use
# Shared by /init and the userland: kernel command line, console messages, beacons.
#
# A beacon tells the server how far this PC has come:
#   POST $server/beacon/$ticket/STAGE?uptime=SECONDS&sent=SECONDS
# with a plain text body, the first line for people and then key=value lines for scripts. While
# $online is "no" or "later", and while the server does not answer, beacons wait in $queue, in order,
# each with the uptime it was made at; sent= is the uptime when it goes, so the server knows its age.

: "${proc:=/proc}" "${run:=/run}" # tests set them
queue=$run/beacons
conf=$run/netboot.conf
server='' ticket='' online=no uptime=0 value=''

# argument KEY: sets $value to what the kernel command line says of KEY, empty if nothing. The
# last of several wins, so that whoever appends to the command line has the last word.
argument() {
    local line word
    value=''
    read -r line <"$proc/cmdline"
    set -f
    for word in $line; do
        case $word in "$1="*) value=${word#*=} ;; esac
    done
    set +f
}

# address VALUE: true if VALUE is a dotted IPv4 address.
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

# prefix NETMASK: sets $value to its length in bits; false if it is not a netmask.
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

# static_address: reads ip=CLIENT:SERVER:GATEWAY:NETMASK:HOSTNAME:DEVICE:AUTOCONF, the kernel's
# own notation (nfsroot.rst), into $client, $gateway, $bits and $hostname. False if CLIENT or
# NETMASK is missing or wrong; a room without a router has no GATEWAY.
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

# Sets $uptime to the seconds since the kernel started, such as 3.21.
read_uptime() {
    read -r uptime _ <"$proc/uptime"
}

# Sets $ram to the bytes of RAM that are plugged in: what people call the PC's RAM. MemTotal of
# /proc/meminfo is less by what the kernel took for itself, a fifth of 256 MiB.
read_ram() {
    local range name
    ram=0
    while read -r range _ name; do
        [ "$name" = 'System RAM' ] || continue
        ram=$((ram + 0x${range#*-} - 0x${range%-*} + 1))
    done <"$proc/iomem"
}

# console MESSAGE: one line for whoever sits in front of the PC.
console() {
    read_uptime
    printf 'netboot: [%7s] %s\n' "$uptime" "$*"
}

# beacon STAGE MESSAGE [KEY=VALUE...]: reports to the server; takes 2 s at the worst (see
# send_beacons) and never fails.
beacon() {
    local stage=$1 sequence=0
    shift
    [ -n "$server" ] || return 0
    read_uptime
    # The number is kept in a file: /init, the userland and what it runs share the queue.
    [ ! -e "$run/sequence" ] || read -r sequence <"$run/sequence"
    sequence=$((sequence + 1))
    echo "$sequence" >"$run/sequence"
    printf '%s\n' "$@" >"$queue/$((100000 + sequence))_${stage}_$uptime"
    [ "$online" != yes ] || send_beacons || true
}

# Sends what is in the queue, oldest first; false if something is left in it. Gives up at the
# first that is not taken: a server that is away costs each stage 2 s only.
send_beacons() {
    local file
    [ "$online" != no ] || return 1
    for file in "$queue"/*; do
        [ -e "$file" ] || return 0
        send_beacon "$file" || return 1
    done
}

# send_beacon FILE: sends one and removes it; false if it is not taken within 2 s.
send_beacon() {
    local name=${1##*/}
    name=${name#*_}
    read_uptime
    timeout 2 wget -q -O /dev/null --post-file "$1" \
        "$server/beacon/$ticket/${name%_*}?uptime=${name##*_}&sent=$uptime" 2>/dev/null || return 1
    rm "$1"
}

# Tells that programs run now, and how much memory there is for them.
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

# Waits at the server for what this PC is told to do, for as long as it is on. There is no disk to
# leave in order; a userland of systemd may have more to end.
take_orders() {
    local order
    while :; do
        # Not wget's own -T: busybox 1.35 dies of it.
        order=$(timeout 120 wget -q -O - "$server/orders/$ticket" 2>/dev/null) || sleep 15
        case $order in
        reboot | poweroff)
            console "$order: told by the server"
            if [ -d "$run/systemd/system" ]; then
                systemctl "$order"
            else
                "$order" -f
            fi
            ;;
        esac
        sleep 1
    done
}

# Makes a file only root can read of what the userland's beacons need; the swap token is not in it.
save_conf() {
    (umask 077 && printf 'server=%s\nticket=%s\nonline=%s\n' "$server" "$ticket" "$online" >"$conf")
}

load_conf() {
    local key word
    while IFS='=' read -r key word; do
        case $key in
        server) server=$word ;;
        ticket) ticket=$word ;;
        online) online=$word ;;
        esac
    done <"$conf"
}
