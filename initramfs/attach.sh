# shellcheck shell=dash disable=SC2034,SC2154 # variables of lib.sh and of others
# How /init and the hooks in /root have the agent attach something.

load_nbd() {
    # With swap it came together with the network card's driver.
    [ -e /sys/block/nbd0 ] || modprobe nbd
}

# start_agent HOST PORT EXPORT TOKEN CONNECTIONS TIMEOUT PATIENCE [WORD]: the agent stays. Sets $answer
# to its line, device=PATH size=BYTES connections=N, or $code to its exit status (3 stays 3, of one
# before) and $why if it has none to say; /run/agent.log holds what the kernel lacks.
start_agent() {
    local host=$1 port=$2 export=$3 token=$4 ended
    shift 4
    # A new one: the agent before may not have closed its end yet.
    [ ! -e /run/agent.answer ] || rm /run/agent.answer
    mkfifo /run/agent.answer
    [ -z "$server" ] || export NETBOOT_BEACON="$server/beacon/$ticket"
    # To open a pipe whose other end is closed takes a while, and a child that ends meanwhile would
    # break it off: all orphans are children of this process. Open for both, it never waits.
    exec 3<>/run/agent.answer
    NETBOOT_TOKEN=$token /sbin/agent attach "$host" "$port" "$export" "$@" \
        >&3 3>&- 2>/run/agent.log &
    exec 4</run/agent.answer 3>&-
    answer=''
    read -r answer <&4 || :
    exec 4<&-
    [ -z "$answer" ] || return 0
    ended=0
    wait $! || ended=$?
    [ "$code" = 3 ] || code=$ended
    why=$(cat /run/agent.log)
    return 1
}
