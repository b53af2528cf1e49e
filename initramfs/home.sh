# shellcheck shell=dash disable=SC2034,SC2154 # shared with lib.sh and netboot-home.service
# The homes of this PC's users (seat.home): folders of the area that the PC keeps, or of an NFS export,
# each bound over the user's folder in RAM. A PC always gets a session: if a home cannot be had, the folder
# in RAM stays, and the screen says so.

: "${top:=}"           # tests set it
HOME_SECONDS=45        # for which a PC waits for the NFS server
HOME_MOUNT_SECONDS=10  # of one try
HOME_LEAST_KIB=1024    # a session can do nothing with less
HOME_LOOK_SECONDS=5
# hard: a program waits for its server, because a write that fails loses what the user has written.
NFS_OPTIONS=vers=4.2,proto=tcp,sec=sys,hard,nosuid,nodev
state=$run/netboot
: "${busybox:=$state/busybox}"
export_folder=$state/homes

# set_up_homes: give each user the home that the profile asks for.
set_up_homes() {
    local SEAT_HOME=none SEAT_LOGIN=guest SEAT_HOSTNAME='' where=''
    # shellcheck source=/dev/null
    [ ! -r "$top/etc/netboot/seat.conf" ] || . "$top/etc/netboot/seat.conf"
    rm -f "$state/home.away" "$state/home.bound" "$state/home.full" "$state/home.ram"
    case $SEAT_HOME in
    seat)
        where='in the area of this PC'
        open_area && bind_homes "$top/persist/home"
        ;;
    nfs:*)
        where="on ${SEAT_HOME#nfs:}"
        open_export "${SEAT_HOME#nfs:}" && bind_homes "$export_folder"
        ;;
    esac
    rm -f "$state/home.waits"
    : >"$state/home.done"
    if [ -s "$state/home.bound" ] && [ ! -e "$state/home.ram" ]; then
        beacon home:ready "homes are $where"
    fi
}

# home_failed REASON KEY [VALUE]: report that homes are in RAM. KEY is the sentence of the screen
# (rootfs/screen/usr/share/netboot/texts), and VALUE is for it.
home_failed() {
    local reason=$1
    shift
    console "homes are in RAM: $reason" >"${screen:-/dev/console}"
    [ -e "$state/home.ram" ] || echo "$*" >"$state/home.ram"
    beacon home:ram "$reason"
}

# open_area: look whether homes can be in the area that this PC keeps. Return false if not.
open_area() {
    local base=$top/persist/home probe
    grep -q " $top/persist " "$proc/mounts" || {
        home_failed "the area of this PC is not mounted (failed:keep tells why)" homebad
        return 1
    }
    why=$(mkdir -p "$base" 2>&1 && chmod 755 "$base" 2>&1) || {
        area_failed
        return 1
    }
    # An area whose file system has an error can be read only.
    probe=$base/.netboot
    why=$( (: >"$probe") 2>&1) || {
        area_failed
        return 1
    }
    rm "$probe"
    # What root has in reserve is of no use to users.
    # shellcheck disable=SC2046 # two numbers
    set -- $(stat -f -c '%a %S' "$base")
    [ $((${1:-0} * ${2:-0} / 1024)) -ge $HOME_LEAST_KIB ] || {
        why='No space left on device'
        area_failed
        return 1
    }
}

# area_failed: tell that the area cannot hold homes because of $why. If it is full, its user gets a link to
# the files, to delete some.
area_failed() {
    local name folder
    case $why in
    *'No space left'*) ;;
    *)
        home_failed "the area of this PC: ${why##*: }" homebad
        return
        ;;
    esac
    home_failed "the area of this PC is full" homefull
    # rootfs/screen/usr/lib/netboot/screen puts it into the home of a guest, made anew for each session.
    ln -s "/persist/home/seat" "$state/home.full"
    while IFS=: read -r name _ _ _ _ folder _; do
        [ "$name" != seat ] || continue
        [ ! -d "$top/persist/home/$name" ] || [ ! -d "$top$folder" ] ||
            ln -sf "/persist/home/$name" "$top$folder/FULL"
    done <"$top/etc/passwd"
} 2>/dev/null

# open_export HOST:/FOLDER: mount that folder of an NFS server. Return false if this cannot be done.
open_export() {
    local host=${1%%:*} folder=${1#*:} end address
    mkdir -p "$export_folder"
    chmod 755 "$export_folder"
    read_uptime
    end=$((${uptime%.*} + HOME_SECONDS))
    until mount_export; do
        case $why in
        *'No such device'* | *'unknown filesystem'*)
            home_failed "the root image has no NFS client: its kernel drivers lack nfsv4" homebad
            return 1
            ;;
        # A server that has just started knows its exports later than its port.
        *'No such file'*) why="it has no export $folder" ;;
        *'ermission denied'* | *'not permitted'*) why="it refuses $folder to this PC" ;;
        esac
        read_uptime
        [ "${uptime%.*}" -lt $end ] || {
            home_failed "NFS server $host: $why" homeaway "$host"
            return 1
        }
        echo "$host" >"$state/home.waits"
        sleep 2
    done
    echo "$host" >"$state/home.nfs"
}

# mount_export: try once. Return false with the reason in $why. A mount that waits for ever can be killed.
mount_export() {
    address=$host
    address "$host" || address=$(getent ahostsv4 "$host" | sed -n '1s/ .*//p')
    [ -n "$address" ] || {
        why="its name is not known"
        return 1
    }
    why=$(timeout -s KILL $HOME_MOUNT_SECONDS "$busybox" mount -i -t nfs4 -o "$NFS_OPTIONS,addr=$address" \
        "$address:$folder" "$export_folder" 2>&1) && return 0
    why=${why##*failed: }
    why=${why:-no answer}
    return 1
}

# bind_homes BASE: bind the homes of all users, which are folders of BASE.
bind_homes() {
    local name id group folder source mine=$SEAT_HOSTNAME
    : >"$state/home.bound"
    while IFS=: read -r name _ id group _ folder _; do
        if [ "$id" -lt 1000 ] || [ "$id" -ge 60000 ]; then continue; fi
        case $folder in /home/?*) ;; *) continue ;; esac
        source=$1/$name
        if [ "$name" = seat ]; then
            # Nobody is the user of screens for guests. On a server each PC has its own.
            [ "$SEAT_LOGIN" = guest ] || continue
            [ "$SEAT_HOME" = seat ] || source=$1/${mine:-$(hostname)}
        fi
        # The screen has stopped waiting: a session may have begun in RAM.
        [ ! -e "$state/home.closed" ] || {
            home_failed "it took too long" homebad
            return 1
        }
        make_home "$source" "$id" "$group" "$top$folder" </dev/null || {
            home_failed "$why" homebad
            continue
        }
        mkdir -p "$top$folder"
        if why=$(mount -o bind "$source" "$top$folder" 2>&1); then
            echo "$top$folder" >>"$state/home.bound"
        else
            home_failed "$why" homebad
        fi
    done <"$top/etc/passwd"
} 2>/dev/null

# make_home FOLDER ID GROUP SKELETON: make FOLDER at its first use. Return false with the reason in $why.
make_home() {
    local owner skeleton=$4
    [ -d "$skeleton" ] || skeleton=$top/etc/skel
    if [ "$SEAT_HOME" != seat ]; then
        make_remote_home "$1" "$2" "$3" "$skeleton"
        return
    fi
    if [ ! -d "$1" ]; then
        # Under another name until it is whole: the area may be full, or the PC switched off.
        rm -rf "$1.new"
        why=$(mkdir -m 700 "$1.new" 2>&1 && cp -a "$skeleton/." "$1.new" 2>&1 && chmod 700 "$1.new" &&
            chown -hR "$2:$3" "$1.new" 2>&1 && mv -T "$1.new" "$1" 2>&1) || {
            rm -rf "$1.new"
            return 1
        }
    fi
    # An account may have another ID in another image.
    owner=$(stat -c %u "$1")
    [ "$owner" = "$2" ] || why=$(chown -hR "$2:$3" "$1" 2>&1)
}

# make_remote_home FOLDER ID GROUP SKELETON: the same on an NFS server, which may trust no root of a PC.
make_remote_home() {
    local owner
    if [ ! -d "$1" ]; then
        if as "$2" "$3" mkdir -m 700 "$1"; then
            as "$2" "$3" cp -r "$4/." "$1" || :
        elif mkdir -m 700 "$1" && chown "$2:$3" "$1"; then
            cp -r "$4/." "$1" || :
            chown -hR "$2:$3" "$1" || :
        else
            rmdir "$1"
            why="$1 cannot be made: make it on the server, for user ID $2"
            return 1
        fi
    fi
    owner=$(stat -c %u "$1")
    [ "$owner" = "$2" ] || {
        why="$1 belongs to user ID ${owner:-?} on the server, expected $2"
        return 1
    }
} 2>/dev/null

# as ID GROUP COMMAND...: run it with the rights of that user.
as() {
    local id=$1 group=$2
    shift 2
    /usr/bin/setpriv --reuid="$id" --regid="$group" --clear-groups "$@"
}

# watch_export: report when the NFS server stops to answer, and when it answers again, until the PC goes
# off. While it is away, $state/home.away has its name.
watch_export() {
    local host
    read -r host <"$state/home.nfs" || return 0
    while :; do
        look_at_export "$host"
        sleep $HOME_LOOK_SECONDS
    done
}

# look_at_export HOST: one look. A program that waits for the server can be killed, but not stopped.
look_at_export() {
    if timeout -s KILL $HOME_MOUNT_SECONDS stat -f -c %a "$export_folder" >/dev/null 2>&1; then
        [ -e "$state/home.away" ] || return 0
        rm "$state/home.away"
        beacon home:back "NFS server $1 answers"
    elif [ -e "$state/home.away" ]; then
        send_beacons || :
    else
        echo "$1" >"$state/home.away"
        beacon home:away "NFS server $1 does not answer; programs wait"
    fi
}

# release_homes: unmount all that was mounted. The programs of a session end at the same time.
release_homes() {
    local folder tries=0
    [ -e "$state/home.bound" ] || return 0
    while read -r folder; do
        until timeout -s KILL 5 umount "$folder" || [ $tries -ge 25 ]; do
            tries=$((tries + 1))
            sleep 0.2
        done
        ! grep -q " $folder " "$proc/mounts" || umount -l "$folder"
    done <"$state/home.bound"
    [ ! -e "$state/home.nfs" ] || timeout -s KILL 5 umount "$export_folder" || umount -l "$export_folder"
} 2>/dev/null
