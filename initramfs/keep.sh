# shellcheck shell=dash disable=SC2034,SC2154 # shared with lib.sh, root/nbd and netboot-keep.service
# The files that this PC keeps over its boots: the server's area becomes /persist (docs/adr/0017).

KEEP_CONNECTIONS=2
ZEROS=65536 # an area whose first bytes are zeros has no file system yet: that of ext4 begins at 1024

# attach_kept: attach the area of netboot.persist, and write its device to $run/netboot/keep. A PC whose
# area cannot be attached boots without it: then nothing can be written to it by mistake.
attach_kept() {
    local reply place answer='' code=0 token
    argument netboot.persist
    place=$value
    [ -n "$place" ] && [ ! -s "$run/netboot/keep" ] || return 0
    load_nbd
    modprobe -q crc32c_generic || :
    modprobe -q ext4 || :
    # Of two boot servers only this one has the files of this boot.
    reply=$(agent lease "http://${place%%:*}:${server##*:}/lease/$ticket?ram=0&area=0" 2>&1) || :
    case $reply in
    size=*' token='*) token=${reply##*token=} ;;
    *)
        keep_failed "${reply#refused=}"
        return 0
        ;;
    esac
    unset NETBOOT_LEASE
    local rest=${place#*:}
    if start_agent "$token" "host=${place%%:*}" "port=${rest%%/*}" "export=${rest#*/}" \
        "connections=$KEEP_CONNECTIONS" "timeout=$timeout" "patience=$PATIENCE" use=keep; then
        answer=${answer#device=}
        echo "${answer%% *}" >"$run/netboot/keep"
    else
        keep_failed "$why"
    fi
}

# keep_failed REASON: tell that this PC keeps nothing now.
keep_failed() {
    console "files are not kept: $1" >"${screen:-/dev/console}"
    beacon failed:keep "$1"
}

# mount_kept, in the userland: mount the area on /persist, and first make its file system if it has none.
# The programs for that are the root image's.
mount_kept() {
    local device said head=$run/netboot/keep.head
    read -r device <"$run/netboot/keep"
    # An area that cannot be read now is not an empty one.
    if ! head -c $ZEROS "$device" >"$head" || [ "$(wc -c <"$head")" != $ZEROS ]; then
        keep_failed "its first bytes cannot be read"
        return 1
    fi
    if ! tr -d '\0' <"$head" | grep -q .; then
        said=$(/sbin/mke2fs -q -t ext4 -L persist -E nodiscard "$device" 2>&1) || {
            keep_failed "no file system can be made: $said; the root image needs e2fsprogs"
            return 1
        }
    else
        # 1: errors were corrected.
        said=$(/sbin/e2fsck -p "$device" 2>&1) || [ $? = 1 ] || {
            keep_failed "the file system is damaged: $said; run e2fsck on the server"
            return 1
        }
    fi
    mkdir -p /persist
    said=$(mount -t ext4 -o noatime "$device" /persist 2>&1) || {
        keep_failed "$said"
        return 1
    }
}
