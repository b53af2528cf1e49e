# shellcheck shell=dash disable=SC2154,SC2034 # shared with init
# The stages of /init for swap: drivers, zswap, lease, swap.

# choose_cipher: set $encrypt to the faster cipher on this CPU: AES if it has instructions for it, else
# Adiantum.
choose_cipher() {
    local key flags
    encrypt=adiantum
    while IFS=: read -r key flags; do
        case $key in flags* | Features*) ;; *) continue ;; esac
        case " $flags " in *" aes "*) encrypt=aes ;; esac
        break
    done <"$proc/cpuinfo"
}

# cipher_modules: print the modules for $encrypt. A processor has some of them only.
cipher_modules() {
    case $encrypt in
    aes) echo dm-crypt xts aesni-intel aes-ce-blk ;;
    adiantum)
        echo dm-crypt adiantum chacha_generic chacha-x86_64 nhpoly1305-sse2 nhpoly1305-avx2 \
            chacha-neon nhpoly1305-neon
        ;;
    esac
}

stage_drivers() {
    if [ -z "$swap" ]; then
        done_with "no swap requested"
        return 0
    fi
    load_nbd || {
        why="the driver nbd does not load"
        return 1
    }
    if [ "$layout" = mirror ]; then
        modprobe raid1 || {
            why="the driver raid1 for mirrors does not load"
            return 1
        }
        keep_bios
    fi
    done_with "nbd${encrypt:+ and dm-crypt ($encrypt)}${layout:+ for swap.layout $layout} loaded"
}

# keep_bios: make the kernel keep up to 256 slabs of free bios, the requests to block devices. The
# agent's md.c creates them and gives the reason.
keep_bios() {
    local slab
    for slab in /sys/kernel/slab/bio-*; do
        echo 256 >"$slab/min_partial"
    done
}

# zswap comes before swap, because Linux from 6.4 on uses zswap only for later areas. The PC boots even
# if zswap fails. The kernel's default allocator (zbud on 6.1) stays: zsmalloc is denser, but before 6.3
# a full pool of it could not write pages to the swap area.
stage_zswap() {
    local dir=/sys/module/zswap/parameters compressor=${zswap%%,*} rest=${zswap#*,} used
    if [ -z "$swap" ] || [ -z "$zswap" ]; then
        done_with "off"
    elif [ ! -d $dir ]; then
        done_with "off: this kernel has no zswap"
    else
        # The kernel keeps its compressor if it does not know the new one.
        { echo "$compressor" >$dir/compressor; } 2>/dev/null
        read -r used <$dir/compressor
        [ "$used" = "$compressor" ] || used="$used (the kernel has no $compressor)"
        echo "${rest%,*}" >$dir/max_pool_percent
        # Since Linux 6.8 the kernel writes unused pages to the server before the pool is full.
        [ ! -e $dir/shrinker_enabled ] || echo "${rest#*,}" >$dir/shrinker_enabled
        if echo Y >$dir/enabled; then
            done_with "$used, at most ${rest%,*} % of RAM" "compressor=${used%% *}"
        else
            done_with "off: the kernel refuses zswap with $used"
        fi
    fi
}

# ask_for_lease: set $reply to the server's answer. Return false, with the reason in $reply, if none came
# within 5 s. The agent sends the request: it starts faster than busybox, and a waiting agent need not
# start at all.
ask_for_lease() {
    local url="$server/lease/$ticket?ram=$ram"
    if [ -n "$launched" ] && echo "lease $url" >&4 && read -r reply <&5; then
        case $reply in failed=*) ;; *) return 0 ;; esac
        reply=${reply#failed=}
        : >/run/agent.log # $reply has the message already
        return 1
    fi
    reply=$(agent lease "$url" 2>&1)
}

stage_lease() {
    if [ -z "$swap" ]; then
        done_with "no swap requested"
        return 0
    elif [ -z "$server" ]; then
        done_with "no netboot.server: the page server decides"
        return 0
    elif [ -n "$layout" ]; then
        done_with "each page server grants its own lease"
        return 0
    fi
    since=''
    # stage_network may have asked already, to check the network.
    until [ "$answers" = yes ] || ask_for_lease; do
        try_again "no lease from $server: ${reply:-no answer}" || {
            why="no lease from $server within $patience s: ${reply:-no answer}"
            return 1
        }
    done
    answers=no # ask again after a failure
    case $reply in
    size=*) done_with "$((${reply#size=} >> 20)) MiB of swap granted" "$reply" ;;
    refused=*)
        why="the server refused swap: ${reply#refused=}"
        return 1
        ;;
    *)
        why="unexpected answer to the request for a lease: $reply"
        return 1
        ;;
    esac
}

stage_swap() {
    local answer='' path areas device size total code
    if [ -z "$swap" ]; then
        catch_up
        done_with "no swap requested"
        return 0
    fi
    # After a restart of this file swap is on: a second area on the same pages would damage both.
    while read -r path _; do
        case $path in /dev/*)
            catch_up
            done_with "already on"
            return 0
            ;;
        esac
    done <"$proc/swaps"
    since=''
    until follow_server && start_agents; do
        case $code in
        3) try_again "page server does not answer: $why" || return 1 ;;
        4)
            why="page server refused: $why"
            return 1
            ;;
        *) return 1 ;;
        esac
    done
    # Its time is that of now, and it is sent when the rest is done.
    beacon swap "$areas" "device=$device" "size=$size" "swap_kib=$total" \
        "connections=${answer##*=}"
    tune_memory
    start_standbys
    catch_up
    send_beacons || :
}

# follow_server: if the pages were to be on a boot server that does not answer, take the other one. The
# beacons tell which of the two answers: it is the first one of $server.
follow_server() {
    local hosts=${server#http://}
    hosts=${hosts%:*}
    [ "${hosts#*,}" != "${swap%%:*}" ] || swap=${hosts%%,*}:${swap#*:}
}

# with_agent COMMAND HOST: call launch_agent or start_agent for the area of HOST.
with_agent() {
    local rest=${swap#*:} either=''
    [ "$layout" != any ] || either=yes
    # The source of a fresh lease, for an area without a token or after its pages are lost.
    [ -z "$server" ] || export NETBOOT_LEASE="${server##*:}/lease/$ticket?ram=$ram&fresh=1"
    "$1" "$token" "host=$2" "port=${rest%%/*}" "export=${rest#*/}" "connections=$connections" \
        "timeout=$timeout" "patience=$patience" ${encrypt:+"encrypt=$encrypt"} \
        ${keep:+discard=no} ${either:+layout=any}
}

# is_of_several: return true if one agent has all of netboot.swap's hosts.
is_of_several() {
    case $layout in mirror | any) ;; *) return 1 ;; esac
}

# launch_first: launch the agent that start_agents will start first.
launch_first() {
    local hosts=${swap%%:*}
    is_of_several || hosts=${hosts%%,*}
    [ -z "$swap" ] || with_agent launch_agent "$hosts"
}

# start_agents: start the agents for netboot.swap=HOST[,HOST...]:PORT/EXPORT by netboot.layout. mirror is
# one area on two servers, any one area that two servers can reach, stripe an area on each, spread (the
# default) an area on the first server with room. The PC boots even if a server is missing. Set $standby
# to the servers for further areas: first the one that has the first area, because those before it may be
# away. Return false, with $why and $code, if there is no swap at all; $code is 3 if a server may only be
# late.
start_agents() {
    local hosts=${swap%%:*} host
    total=0 areas='' code=0 standby=''
    is_of_several || IFS=,
    # shellcheck disable=SC2086 # a list, split by $IFS
    set -- $hosts
    unset IFS
    for host; do
        if with_agent start_agent "$host" && swap_is_on "$answer"; then
            standby=$host,$hosts
            [ ! -s /run/agent.log ] || cat /run/agent.log # the agent's warnings
            [ "$layout" = stripe ] || break
        elif [ "$hosts" != "$host" ]; then
            console "$number swap: $host: $why"
        fi
    done
    # Mostly it is the first of them anyway. Those of a mirror are tried together.
    case $hosts, in "${standby%%,*}",*) standby=$hosts ;; esac
    [ "$total" != 0 ]
}

# start_standbys: start an agent for each further area. The agents acquire their resources and wait.
start_standbys() {
    local area=1 rest=${swap#*:} mirror='' answer
    [ "$layout" != mirror ] || mirror=yes
    [ -n "$server" ] || return 0 # no source of a lease
    while [ "$area" -le "$grow" ]; do
        area=$((area + 1))
        answer=/run/agent.$area
        mkfifo "$answer" # one for each agent, because the first to close a shared one would end it
        NETBOOT_LEASE="${server##*:}/lease/$ticket?ram=$ram&area=$area" /sbin/agent standby \
            "area=$area" "host=$standby" "port=${rest%%/*}" "export=${rest#*/}-$area" \
            "connections=$connections" "timeout=$timeout" "patience=$patience" \
            ${encrypt:+"encrypt=$encrypt"} ${keep:+discard=no} ${mirror:+mirror=yes} \
            >"$answer" 2>/run/agent.log &
        read -r _ <"$answer" || console "$number swap: area $area: its agent did not start"
        rm "$answer"
        [ ! -s /run/agent.log ] || cat /run/agent.log
    done
}

# swap_is_on 'device=PATH size=BYTES connections=N': check /proc/swaps for the agent's device, add its
# size to $total and its description to $areas.
swap_is_on() {
    local path said kib=''
    device=${1#device=} device=${device%% *}
    size=${1#*size=} size=${size%% *}
    while read -r path _ kib _; do
        path=${path%\\040(deleted)} # the agent removed the name
        [ "$path" != "$device" ] || break
    done <"$proc/swaps"
    if [ "$path" != "$device" ]; then
        why="the agent attached $device, but it is not in /proc/swaps"
        return 1
    fi
    total=$((total + kib))
    said="$device, $((kib >> 10)) MiB, ${1##*=} connections"
    areas="${areas:+$areas; }$said"
    console "$number swap: $said"
}

# tune_memory: keep memory in reserve, because sending a page takes memory (headers, acknowledgements)
# when memory is short.
tune_memory() {
    local now reserve=$((ram * 3 / 100 >> 10))
    # 3 % of RAM in reserve: after half of the reserve is used, the kernel slows processes down.
    read -r now </proc/sys/vm/min_free_kbytes
    [ "$now" -ge $reserve ] || echo $reserve >/proc/sys/vm/min_free_kbytes
    # kswapd starts 1 % of RAM earlier (default 0.1 %), because evicting a page takes a round trip.
    echo 100 >/proc/sys/vm/watermark_scale_factor
    # Pages are on one server only while they are copied to a mirror's new server. So the copy has at
    # least 10 MB/s on a busy PC (default 1 MB/s), and at most a quarter of 1 Gbit/s for the room.
    if [ "$layout" = mirror ]; then
        echo 10000 >/proc/sys/dev/raid/speed_limit_min
        echo 30000 >/proc/sys/dev/raid/speed_limit_max
    fi
}
