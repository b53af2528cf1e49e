# shellcheck shell=dash disable=SC2034,SC2154 # shared with init
# A PC that a signed image has started (Secure Boot with a key of the operator's). The image's command
# line has netboot.secure=IMAGE and nothing of this seat: its words come from the server, signed
# (netboot/boot/own_image.py). Nobody else can have signed them: the certificate is in the image.

: "${certificate:=/etc/netboot/words.cer}" # tests set it
SIGNATURE_BYTES=256

# fetch_words: put the words of this seat into $run/words, where `argument` finds them. Return false
# with the reason in $why; it is in $refused if another try would end the same.
fetch_words() {
    local nonce word answer=$run/words.answer text=$run/words.text refused_by
    local title='' number='' seat_mac='' image='' words=''
    refused=''
    nonce=$(tr -d - <"$proc/sys/kernel/random/uuid")
    ask_words || { other_server && ask_words; } || {
        why="no answer"
        while read -r word; do
            case $word in wget:*) why=${word#wget: } ;; esac
        done <"$run/answer"
        why="the server gives no words: $why"
        return 1
    }
    head -c $SIGNATURE_BYTES "$answer" >"$run/words.signature"
    tail -c +$((SIGNATURE_BYTES + 1)) "$answer" >"$text"
    word=$(sha256sum <"$text")
    refused_by=$(agent verify "$certificate" "$run/words.signature" "${word%% *}" 2>&1) || {
        refused="the words that came are not the server's: $refused_by"
        why=$refused
        return 1
    }
    {
        read -r title && read -r number && read -r seat_mac && read -r image && read -r words
    } <"$text"
    if [ "$title $number $seat_mac" != "netboot words 1 $nonce $mac" ]; then
        refused="the words that came answer another question: somebody repeats old ones"
    elif [ "$image" != "$secure" ] || [ -z "$words" ]; then
        refused="this image is not the one that the server has now: boot again"
    fi
    why=$refused
    [ -z "$refused" ] || return 1
    (umask 077 && printf '%s\n' "$words" >"$run/words")
    signed=''
    rm -f "$answer" "$text" "$run/words.signature"
}

# ask_words: ask the first server.
ask_words() {
    first_server
    timeout 15 wget -q -S -O "$run/words.answer" "$value/words/$mac?nonce=$nonce&image=$secure" \
        2>"$run/answer"
}

# stage_words: get the words of this seat, and do what stage_hardware left for them.
stage_words() {
    since=''
    [ -n "$mac" ] || read -r mac <"$sys/class/net/$port/address"
    until fetch_words; do
        [ -z "$refused" ] || return 1
        try_again "$why" || return 1
    done
    set_clock
    read_words
    [ -z "$hostname" ] || echo "$hostname" >"$proc/sys/kernel/hostname"
    load_drivers '' "$(swap_modules)"
    choose_other_cipher
    launch_first
    answers=no # no lease was asked for yet
    done_with "signed by the server, for image $secure"
    known='' leased=yes
}

# start_ports: switch on all wired ports, for the loader does not tell which one it used.
start_ports() {
    local path
    for path in "$sys"/class/net/*; do
        [ ! -e "$path/device" ] || ip link set "${path##*/}" up 2>/dev/null
    done
}

# find_linked_port: set $port to the first wired port with a link. Return false if none has one.
find_linked_port() {
    local path carrier
    for path in "$sys"/class/net/*; do
        carrier=0
        [ ! -e "$path/device" ] || read -r carrier <"$path/carrier" || :
        [ "$carrier" = 1 ] || continue
        port=${path##*/}
        driver=$(readlink "$path/device/driver")
        driver=${driver##*/}
        return 0
    done 2>/dev/null
    return 1
}
