# shellcheck shell=dash disable=SC2034,SC2154 # shared with init
# The files of this PC, which no root image has: the server makes them for each boot
# (netboot/boot/seat_files.py). They come as a cpio archive without directories.

: "${seat_archive:=/seat.img}" # tests set it
ACCOUNT_IDS=2000               # the first user ID of accounts; Debian's own end at 1000
ACCOUNT_NUMBER=50000

# fetch_seat: get the archive from a boot server. Return false with the reason in $why.
fetch_seat() {
    local word
    fetch_first || { other_server && fetch_first; } || {
        why="no answer"
        while read -r word; do
            case $word in wget:*) why=${word#wget: } ;; esac
        done <"$run/answer"
        why="the server gives no files of this PC: $why"
        return 1
    }
    check_seat || return 1
    set_clock
}

# check_seat: compare the archive with the digest that the server has signed, if it signs (words.sh).
# Return false with the reason in $why and $refused.
check_seat() {
    local sum
    [ -n "${files:-}" ] || return 0
    sum=$(sha256sum <"$seat_archive")
    [ "${sum%% *}" != "$files" ] || return 0
    rm -f "$seat_archive"
    refused="the files of this PC are not those that the server has signed: they have just been changed \
there, or on their way here; boot again"
    why=$refused
    return 1
}

# fetch_first: get the archive from the first server.
fetch_first() {
    first_server
    timeout 15 wget -q -S -O "$seat_archive" "$value/seat/$ticket" 2>"$run/answer"
}

# place_seat ROOT: put the files into ROOT, and give it the accounts. Return false with the reason in
# $why. A file of the image is removed before, because it may be a link to anywhere.
place_seat() {
    why=$(cd "$1" 2>&1 && cpio -idu <"$seat_archive" 2>&1) || {
        why="unpacking the files of this PC: $why"
        return 1
    }
    rm -f "$seat_archive"
    # In a child. /init, process 1, gets a signal when any orphan ends. If one comes while the overlay
    # copies a file that is opened, Linux ends open(2) with EINTR, and busybox does not try again.
    (add_accounts "$1")
}

# add_accounts ROOT: give ROOT the accounts in its etc/netboot/accounts (lines NAME:HASH), and remove
# this file. An account that ROOT has gets the password.
add_accounts() {
    local name hash id root=$1 etc=$1/etc shell=/bin/sh
    [ -e "$etc/netboot/accounts" ] || return 0
    [ ! -e "$root/bin/bash" ] || shell=/bin/bash
    [ -e "$etc/shadow" ] || (umask 077 && : >"$etc/shadow")
    mkdir -p "$root/home"
    while IFS=: read -r name hash; do
        if grep -q "^$name:" "$etc/passwd"; then
            set_password "$name" "$hash" "$etc/shadow"
            continue
        fi
        # The name decides, so that an account has the same ID on all PCs.
        id=$(echo "$name" | md5sum | cut -c -7)
        id=$((ACCOUNT_IDS + 0x$id % ACCOUNT_NUMBER))
        while grep -q -e "^[^:]*:[^:]*:$id:" "$etc/passwd" "$etc/group"; do
            id=$((id + 1))
        done
        echo "$name:x:$id:" >>"$etc/group"
        echo "$name:x:$id:$id::/home/$name:$shell" >>"$etc/passwd"
        echo "$name:$hash::0:99999:7:::" >>"$etc/shadow"
        [ ! -d "$etc/skel" ] || cp -a "$etc/skel" "$root/home/$name"
        mkdir -p "$root/home/$name"
        chown -R "$id:$id" "$root/home/$name"
        chmod 700 "$root/home/$name"
    done <"$etc/netboot/accounts"
    rm "$etc/netboot/accounts"
}

# set_password NAME HASH FILE: change the hash of NAME in FILE, which keeps its owner and its mode.
set_password() {
    local line rest found=no
    while IFS= read -r line; do
        case $line in
        "$1:"*)
            rest=${line#*:} found=yes
            line="$1:$2:${rest#*:}"
            ;;
        esac
        printf '%s\n' "$line"
    done <"$3" >"$run/shadow"
    [ $found = yes ] || echo "$1:$2::0:99999:7:::" >>"$run/shadow"
    cat "$run/shadow" >"$3"
    rm "$run/shadow"
}

# write_resolver ROOT: write the name servers $dns and the $domain of this PC's DHCP lease. Without name
# servers the file of ROOT stays. It may be a link to a file that systemd-resolved would write.
write_resolver() {
    local word text=''
    [ -n "$dns" ] || return 0
    [ -z "$domain" ] || text="search $domain$newline"
    for word in $dns; do
        text="${text}nameserver $word$newline"
    done
    mkdir -p "$1/etc"
    rm -f "$1/etc/resolv.conf"
    printf '%s' "$text" >"$1/etc/resolv.conf"
}
