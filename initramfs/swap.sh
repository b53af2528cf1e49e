# shellcheck shell=dash disable=SC2154,SC2034 # shared with init
# The stages of /init that make swap: drivers, zswap, lease, swap.

stage_drivers() {
    if [ -z "$swap" ]; then
        done_with "no swap asked for"
        return 0
    fi
    load_nbd || {
        why="the nbd driver does not load"
        return 1
    }
    if [ "$layout" = mirror ]; then
        modprobe raid1 || {
            why="the driver of mirrors (raid1) does not load"
            return 1
        }
        [ -e /dev/md0 ] || echo md0 >/sys/module/md_mod/parameters/new_array
        keep_bios
    fi
    done_with "nbd${encrypt:+ and dm-crypt}${layout:+ for swap.layout $layout} loaded"
}

# What memory once was for requests to block devices stays that, up to 256 slabs of it: what for, says
# the agent's mirror.c, which has them made.
keep_bios() {
    local slab
    for slab in /sys/kernel/slab/bio-*; do
        echo 256 >"$slab/min_partial"
    done
}

# Before swap, because Linux from 6.4 on sets zswap up only for areas that come after it. Its
# failure is no reason not to boot. The kernel's own allocator (zbud on 6.1) is kept: zsmalloc is
# denser, but before 6.3 its pages could not move on to the swap area when the pool is full.
stage_zswap() {
    local dir=/sys/module/zswap/parameters compressor=${zswap%%,*} rest=${zswap#*,} used
    if [ -z "$swap" ] || [ -z "$zswap" ]; then
        done_with "off"
    elif [ ! -d $dir ]; then
        done_with "off: this kernel has none"
    else
        # The kernel keeps the compressor it has when it does not know the new one.
        { echo "$compressor" >$dir/compressor; } 2>/dev/null
        read -r used <$dir/compressor
        [ "$used" = "$compressor" ] || used="$used (the kernel has no $compressor)"
        echo "${rest%,*}" >$dir/max_pool_percent
        # Since Linux 6.8: pages that stay unused go on to the server before the pool is full.
        [ ! -e $dir/shrinker_enabled ] || echo "${rest#*,}" >$dir/shrinker_enabled
        if echo Y >$dir/enabled; then
            done_with "$used, at most ${rest%,*} % of RAM" "compressor=${used%% *}"
        else
            done_with "off: the kernel does not turn it on with $used"
        fi
    fi
}

# Sets $reply to the server's answer, or to why there is none within 5 s. The agent asks: a smaller program
# than busybox starts sooner, and one that waits already soonest.
ask_for_lease() {
    local url="$server/lease/$ticket?ram=$ram"
    if [ -n "$launched" ] && echo "lease $url" >&4 && read -r reply <&5; then
        case $reply in failed=*) ;; *) return 0 ;; esac
        reply=${reply#failed=}
        : >/run/agent.log # it is said already
        return 1
    fi
    reply=$(agent lease "$url" 2>&1)
}

stage_lease() {
    if [ -z "$swap" ]; then
        done_with "no swap asked for"
        return 0
    elif [ -z "$server" ]; then
        done_with "no netboot.server to ask, the page server decides"
        return 0
    elif [ -n "$layout" ]; then
        done_with "each page server grants its own"
        return 0
    fi
    since=''
    # Asked for already, to see whether the network is as it should be.
    until [ "$answers" = yes ] || ask_for_lease; do
        try_again "no lease from $server: ${reply:-no answer}" || {
            why="no lease from $server within $patience s: ${reply:-no answer}"
            return 1
        }
    done
    answers=no # once more after a failure
    case $reply in
    size=*) done_with "$((${reply#size=} >> 20)) MiB of swap granted" "$reply" ;;
    refused=*)
        why="the server refused swap: ${reply#refused=}"
        return 1
        ;;
    *)
        why="the server's answer is neither size= nor refused=: $reply"
        return 1
        ;;
    esac
}

stage_swap() {
    local answer='' path areas device size total code
    if [ -z "$swap" ]; then
        report_at_once
        done_with "none asked for"
        return 0
    fi
    # After a restart of this file: a second area on the same pages would ruin both.
    while read -r path _; do
        case $path in /dev/*)
            report_at_once
            done_with "on already"
            return 0
            ;;
        esac
    done </proc/swaps
    since=''
    until start_agents; do
        case $code in
        3) try_again "page server does not answer: $why" || return 1 ;;
        4)
            why="page server refused: $why"
            return 1
            ;;
        *) return 1 ;;
        esac
    done
    report_at_once
    tune_memory
    start_standbys
    beacon swap "$areas" "device=$device" "size=$size" "swap_kib=$total" \
        "connections=${answer##*=}"
}

# with_agent COMMAND HOST: has launch_agent or start_agent attach the area that HOST keeps.
with_agent() {
    local rest=${swap#*:}
    # Where a fresh lease can be had, for an area without a token or when its pages are lost.
    [ -z "$server" ] || export NETBOOT_LEASE="${server##*:}/lease/$ticket?ram=$ram&fresh=1"
    "$1" "$token" "host=$2" "port=${rest%%/*}" "export=${rest#*/}" "connections=$connections" \
        "timeout=$timeout" "patience=$patience" ${encrypt:+encrypt=yes} ${keep:+discard=no}
}

# launch_first: the agent that start_agents will start first.
launch_first() {
    local hosts=${swap%%:*}
    [ "$layout" = mirror ] || hosts=${hosts%%,*}
    [ -z "$swap" ] || with_agent launch_agent "$hosts"
}

# start_agents: an agent for each area of netboot.swap=HOST[,HOST...]:PORT/EXPORT, as
# netboot.layout says: mirror is one area on two servers, stripe one on each, and spread (or
# nothing) one on the first server that has room. A server less is no reason not to boot. False,
# with $why and $code, if there is no swap: 3 if one may only be late.
start_agents() {
    local hosts=${swap%%:*} host
    total=0 areas='' code=0
    [ "$layout" = mirror ] || IFS=,
    # shellcheck disable=SC2086 # a list, as $IFS parts it
    set -- $hosts
    unset IFS
    for host; do
        if with_agent start_agent "$host" && swap_is_on "$answer"; then
            [ ! -s /run/agent.log ] || cat /run/agent.log # what this kernel or the mirror lacks
            [ "$layout" = stripe ] || break
        elif [ "$hosts" != "$host" ]; then
            console "$number swap: $host: $why"
        fi
    done
    [ "$total" != 0 ]
}

# An agent for each further area that may be needed: they wait, with all that it will take.
start_standbys() {
    local area=1 host=${swap%%:*} rest=${swap#*:} answer
    [ -n "$server" ] || return 0 # nobody grants a lease
    while [ "$area" -le "$grow" ]; do
        area=$((area + 1))
        answer=/run/agent.$area
        mkfifo "$answer" # of its own: another agent would end it by closing it
        NETBOOT_LEASE="${server##*:}/lease/$ticket?ram=$ram&area=$area" /sbin/agent standby \
            "area=$area" "host=$host" "port=${rest%%/*}" "export=${rest#*/}-$area" \
            "connections=$connections" "timeout=$timeout" "patience=$patience" \
            ${encrypt:+encrypt=yes} ${keep:+discard=no} >"$answer" 2>/run/agent.log &
        read -r _ <"$answer" || console "$number swap: no agent for area $area"
        rm "$answer"
        [ ! -s /run/agent.log ] || cat /run/agent.log
    done
}

# swap_is_on 'device=PATH size=BYTES connections=N': believes /proc/swaps, not the agent.
swap_is_on() {
    local path said kib=''
    device=${1#device=} device=${device%% *}
    size=${1#*size=} size=${size%% *}
    while read -r path _ kib _; do
        path=${path%\\040(deleted)} # the agent takes its name away
        [ "$path" != "$device" ] || break
    done </proc/swaps
    if [ "$path" != "$device" ]; then
        why="$device is not in /proc/swaps"
        return 1
    fi
    total=$((total + kib))
    said="$device, $((kib >> 10)) MiB, ${1##*=} connections"
    areas="${areas:+$areas; }$said"
    console "$number swap: $said"
}

# Sending a page out takes memory (headers, acknowledgements) just when there is none.
tune_memory() {
    local now reserve=$((ram * 3 / 100 >> 10))
    # 3 % of RAM in reserve: when half of the reserve is used up the kernel holds processes back.
    read -r now </proc/sys/vm/min_free_kbytes
    [ "$now" -ge $reserve ] || echo $reserve >/proc/sys/vm/min_free_kbytes
    # kswapd starts 1 % of RAM earlier (the default is 0.1 %): a page needs a round trip to go.
    echo 100 >/proc/sys/vm/watermark_scale_factor
    # 4 pages in each read: pays for the round trip without flooding a small RAM (default 8).
    echo 2 >/proc/sys/vm/page-cluster
    # While pages are copied to a new server of a mirror they are on one only, so at least 10 MB/s
    # however busy the PC is (default 1 MB/s); and at most a quarter of 1 Gbit/s, in a room of many.
    if [ "$layout" = mirror ]; then
        echo 10000 >/proc/sys/dev/raid/speed_limit_min
        echo 30000 >/proc/sys/dev/raid/speed_limit_max
    fi
}
