# shellcheck shell=dash disable=SC2034 # other files use the variables
# What the screen of a seat decides: functions over the settings of /etc/netboot/seat.conf, with
# the shell's own commands alone. Results are in variables that each function names.

: "${texts:=/usr/share/netboot/texts}" "${connections:=/proc/net/tcp /proc/net/tcp6}" # tests set them
: "${busybox:=/run/netboot/busybox}" "${figures:=/run/agent.screen}" "${clock:=/proc/uptime}"

# load_settings FILE: set SEAT_... from a file of KEY='value' lines, and the rest to its default.
load_settings() {
    SEAT_START=auto SEAT_URL='' SEAT_KEYBOARD=us SEAT_LOCALE=C.UTF-8 SEAT_LOGIN=guest SEAT_SCREEN=auto
    SEAT_SERVER='' SEAT_HOSTNAME='' SEAT_HOME=none SEAT_FINGERPRINT=''
    # shellcheck source=/dev/null
    [ ! -r "$1" ] || . "$1"
}

# split_url URL: set $scheme, $user, $host and $port. Each is empty if the URL has no such part.
split_url() {
    local rest=$1
    scheme='' user='' host='' port=''
    case $rest in *://*) scheme=${rest%%://*} rest=${rest#*://} ;; *) return 0 ;; esac
    rest=${rest%%[/?]*}
    case $rest in *@*) user=${rest%@*} rest=${rest##*@} ;; esac
    case $rest in
    \[*\]*) host=${rest%%]*} host=${host#[} rest=${rest#*]} ;;
    *) host=${rest%%:*} rest=${rest#"$host"} ;;
    esac
    port=${rest#:}
    [ -n "$host" ] || port=''
    [ -z "$host" ] || [ -n "$port" ] || case $scheme in
        http) port=80 ;; https) port=443 ;; vnc) port=5900 ;; rdp) port=3389 ;; ipp | ipps) port=631 ;;
    esac
}

# bracketed HOST: print the host as a viewer of VNC or RDP wants it before a port.
bracketed() {
    case $1 in *:*) echo "[$1]" ;; *) echo "$1" ;; esac
}

# answers: return true if $host takes connections at $port, or if nothing can be asked. A server that then
# only waits makes timeout end nc with 143; without a connection nc ends with 1.
answers() {
    if [ -z "$port" ] || [ ! -x "$busybox" ]; then return 0; fi
    "$busybox" timeout 5 "$busybox" nc -w 3 "$host" "$port" </dev/null >/dev/null 2>&1
    [ $? != 1 ]
}

# stalled PORT: return true if the user's connection to that port has sent something five times, for
# some 6 s, and its server says nothing. So no server is asked: some block a PC that asks often.
stalled() {
    local wanted file remote state retries uid _
    wanted=$(printf %04X "$1")
    for file in $connections; do
        [ -r "$file" ] || continue
        while read -r _ _ remote state _ _ retries uid _; do
            case $remote:$state:$uid in
            *:"$wanted:01:1000") [ $((0x$retries)) -lt 5 ] || return 0 ;;
            esac
        done <"$file"
    done
    return 1
}

# has PROGRAM: return true if the image has it.
has() {
    command -v "$1" >/dev/null
}

# choose_start: set $start to kiosk, desktop, thin, none, missing, or a command. The image's own kind
# is told by its programs.
choose_start() {
    start=$SEAT_START
    case $start in
    auto)
        case $SEAT_URL in
        vnc://* | rdp://*) start=thin ;;
        *) if has icewm-session || has xfce4-session; then start=desktop; else start=kiosk; fi ;;
        esac
        ;;
    esac
    choose_program
    [ -n "$program" ] || case $start in kiosk | thin | desktop) start=missing ;; esac
    # A screen for guests would be open to all, where the profile asks for a password.
    case $SEAT_LOGIN in local) has lightdm || start=missing ;; none) start=none ;; esac
}

# choose_program: set $program to the program of $start, empty if the image has none for it.
choose_program() {
    local each candidates=''
    program=''
    case $start in
    kiosk) candidates='surf netsurf-gtk firefox-esr chromium' ;;
    desktop) candidates='xfce4-session icewm-session' ;;
    thin)
        case $SEAT_URL in
        vnc://*) candidates=xtigervncviewer ;;
        rdp://*) candidates='xfreerdp3 xfreerdp' ;;
        esac
        ;;
    esac
    for each in $candidates; do
        if has "$each"; then
            program=$each
            return
        fi
    done
}

# split_keyboard LAYOUT(VARIANT): set $layout and $variant.
split_keyboard() {
    layout=${1%%(*} variant=''
    case $1 in *\(*\)) variant=${1#*(} variant=${variant%)} ;; esac
}

# keyboard_section LAYOUT(VARIANT): print the keyboard's section for X.org. A keyboard that is plugged
# in later has the layout too, which setxkbmap does not do.
keyboard_section() {
    local layout variant
    split_keyboard "$1"
    echo 'Section "InputClass"'
    echo '    Identifier "keyboard of the seat"'
    echo '    MatchIsKeyboard "on"'
    echo "    Option \"XkbLayout\" \"$layout\""
    [ -z "$variant" ] || echo "    Option \"XkbVariant\" \"$variant\""
    echo 'EndSection'
}

# next_pause SECONDS LIFE: set $pause to the seconds before a program starts again that ended after
# LIFE seconds. A program that cannot run must not keep the PC busy.
next_pause() {
    pause=$(($1 * 2))
    [ "$pause" -le 30 ] || pause=30
    [ "$2" -lt 60 ] || pause=1
}

# is_refused STATUS: return true if a viewer of RDP that ended so does not trust the server's certificate.
is_refused() {
    [ "$1" = 143 ]
}

# is_page TITLE: return true if a window's title is that of a page, and not of a program that loads.
is_page() {
    local title=$1
    case $title in *' - NetSurf' | *' - Chromium') title=${title% - *} ;; *' — Mozilla Firefox') title=${title% — *} ;; esac
    case $title in
    '' | NetSurf | surf | Surf | Chromium | 'Mozilla Firefox' | Firefox | firefox-esr | netsurf-gtk | xfce4-panel) return 1 ;;
    Untitled | 'New Tab' | about:* | Loading* | '['*%*']'* | *'...' | *…) return 1 ;;
    esac
}

# text KEY [VALUE]: set $text to the sentence of $texts in the seat's language, else in English, with
# VALUE in place of %s.
text() {
    local key language line
    text=''
    while IFS='|' read -r key language line; do
        [ "$key" = "$1" ] || continue
        case $language in
        en) [ -n "$text" ] || text=$line ;;
        "${SEAT_LOCALE%%_*}") text=$line ;;
        esac
    done <"$texts"
    case $text in *%s*) text=${text%%%s*}${2:-}${text#*%s} ;; esac
}

# ordered FILE: set $order to what the server had this PC show until now, empty if that is over. dzen2 takes
# a lone ^ for a command.
ordered() {
    local until='' rest='' now _
    order=''
    [ -r "$1" ] || return 0
    # shellcheck disable=SC2094 # it is only read
    { read -r until && read -r rest; } <"$1" || return 0
    read -r now _ <"$clock"
    [ "${now%.*}" -lt "$until" ] || return 0
    while :; do
        case $rest in
        *^*) order="$order${rest%%^*}^^" rest=${rest#*^} ;;
        *) order=$order$rest && return 0 ;;
        esac
    done
}

# tell_users NUMBER: tell the agent how many sessions the screen has, for the PC's figures. Over the old text
# in place: the agent has locked the page of this file into RAM.
tell_users() {
    local kind=$start
    case $kind in kiosk | desktop | thin | missing) ;; *) kind='command' ;; esac
    [ ! -w "$figures" ] || printf '%-40s\n' "users=$1 kind=$kind" 1<>"$figures"
}

# beacon STAGE MESSAGE: report to the boot server, if this PC has one. busybox has the programs that
# lib.sh needs.
beacon() {
    [ ! -r /run/netboot.conf ] ||
        /run/netboot/busybox sh -c '. /run/netboot/lib.sh && load_conf && beacon "$@"' sh "$@" || true
}
