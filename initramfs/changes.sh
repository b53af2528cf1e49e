# shellcheck shell=dash disable=SC2034,SC2154 # shared with lib.sh, root/nbd and netboot-changes.service
# The space for what a PC changes over its root image: its size, and the look at what is left of it.

# Here pages of files and of programs both come back over the network, and zswap has most pages of
# programs without it. So Linux is to take those of programs first. Measured with a browser in 128 MiB:
# 501 MB of image were read with 180, and 814 MB with 60, the default.
SWAPPINESS=200
# KiB of the image, and bytes of its hash tree, that are read at once.
READ_AHEAD=128
PREFETCHED=16384
# Bytes of the hash tree that stay in RAM when it is short. 2 MiB check 256 MiB of the image. With
# Linux's 256 KiB for both, a browser in 256 MiB read 16 MB of a tree of 4 MB.
RETAINED=2097152

FULL_PERCENT=90
FREE_PERCENT=85 # below it the space counts as free again
LOOK_SECONDS=5

# The values of a PC with less RAM than this, in which a light browser runs: NetSurf in 192 MiB reads its
# image by 1,455 requests, and by 1,655 with those above. Firefox in 384 MiB is short of RAM in another
# way: what is read ahead pushes out what is needed, and it read 388 MB, and 333 MB with those above.
SMALL_MIB=224
SMALL_READ_AHEAD=192
SMALL_PREFETCHED=32768

# With less than this nearly all pages are used again: in 128 MiB NetSurf read 793 MB with the small PC's
# values, and 695 MB with 180 and those above.
LITTLE_MIB=160
LITTLE_SWAPPINESS=180

# tune DEVICE: set how the PC reads the image on this device, and when it swaps. Older kernels refuse a
# swappiness above 100.
#
# With generations (MGLRU, off in Debian's 6.1) Linux keeps the pages that are used again: a browser in
# 256 MiB read 307 MB of its image, and 358 MB without. With little RAM it finds none to drop: NetSurf in
# 128 MiB read 4,321 MB and no page came.
#
# After a large allocation Linux would free more pages than it needs, to have large ones: pages that are
# read again. So the boost is off.
tune() {
    local swappiness=$SWAPPINESS ahead=$READ_AHEAD prefetched=$PREFETCHED
    read_ram
    if [ "$((ram >> 20))" -lt $LITTLE_MIB ]; then
        swappiness=$LITTLE_SWAPPINESS
    else
        [ "$((ram >> 20))" -ge $SMALL_MIB ] || ahead=$SMALL_READ_AHEAD prefetched=$SMALL_PREFETCHED
        echo y >"$sys/kernel/mm/lru_gen/enabled" || :
        echo 0 >"$proc/sys/vm/watermark_boost_factor" || :
    fi
    echo "$swappiness" >"$proc/sys/vm/swappiness" || :
    echo "$ahead" >"$sys/block/${1##*/}/queue/read_ahead_kb" || :
    echo $RETAINED >"$sys/module/dm_bufio/parameters/retain_bytes" || :
    echo "$prefetched" >"$sys/module/dm_verity/parameters/prefetch_cluster" || :
} 2>/dev/null

# read_changes: set $kib to the size that netboot.changes gives. It counts KiB, or percent of the PC's RAM.
# Without it: half of the RAM that programs have, and half of the swap. Then /dev/shm, which may have the
# other half of the RAM, fits in besides.
read_changes() {
    local key amount
    argument netboot.changes
    case $value in
    *[!0-9%]* | *%?* | %* | 0* | '') ;;
    *%)
        read_ram
        kib=$((ram * ${value%\%} / 102400))
        return
        ;;
    *)
        kib=$value
        return
        ;;
    esac
    kib=0
    while read -r key amount _; do
        case $key in MemTotal: | SwapTotal:) kib=$((kib + amount / 2)) ;; esac
    done <"$proc/meminfo"
}

# look_at_changes: report once that the space for changes is 90 % used, and once that it is not any more.
# While it is nearly full, $run/netboot/overlay-full has the percentage and the MiB that are left.
look_at_changes() {
    local used by_files left full=$run/netboot/overlay-full
    # The statfs(2) of an overlay is that of the tmpfs on top: blocks, free ones, their size, files,
    # free ones. Small files use up the last two first.
    # shellcheck disable=SC2046 # five numbers
    set -- $(stat -f -c '%b %a %S %c %d' "${folder:-/}")
    [ "${1:-0}" -gt 0 ] || return 0
    used=$((($1 - $2) * 100 / $1)) left=$(($2 * $3 >> 20))
    if [ "${4:-0}" -gt 0 ]; then
        by_files=$((($4 - $5) * 100 / $4))
        [ $by_files -le $used ] || used=$by_files
    fi
    if [ ! -e "$full" ]; then
        [ $used -ge $FULL_PERCENT ] || return 0
        beacon overlay:full "$used % of the space for changes is used" "percent=$used" "left_mib=$left"
    elif [ $used -lt $FREE_PERCENT ]; then
        rm "$full"
        beacon overlay:free "$used % of the space for changes is used" "percent=$used" "left_mib=$left"
        return
    else
        send_beacons || : # the server may have been away
    fi
    echo "$used $left" >"$full"
}

# watch_changes: look until the PC goes off.
watch_changes() {
    while :; do
        look_at_changes
        sleep $LOOK_SECONDS
    done
}
