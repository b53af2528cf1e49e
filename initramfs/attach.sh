# shellcheck shell=dash disable=SC2034,SC2154 # variables of lib.sh and of others
# How /init and the hooks in /root have the agent attach something.

# load_nbd [DEVICES]
load_nbd() {
    # No partitions: nobody but us may read from the devices.
    modprobe nbd nbds_max="${1:-4}" max_part=0
}

# start_agent HOST PORT EXPORT TOKEN CONNECTIONS TIMEOUT PATIENCE [WORD]: the agent stays. Sets $answer
# to its line, device=PATH size=BYTES connections=N, or $code to its exit status (3 stays 3, of one
# before) and $why if it has none to say; /run/agent.log holds what the kernel lacks.
start_agent() {
    local host=$1 port=$2 export=$3 token=$4 ended
    shift 4
    # A new one: the agent before may not have closed its end yet.
    rm -f /run/agent.answer
    mkfifo /run/agent.answer
    [ -z "$server" ] || export NETBOOT_BEACON="$server/beacon/$ticket"
    NETBOOT_TOKEN=$token /sbin/agent attach "$host" "$port" "$export" "$@" \
        >/run/agent.answer 2>/run/agent.log &
    ! read -r answer </run/agent.answer || return 0
    ended=0
    wait $! || ended=$?
    [ "$code" = 3 ] || code=$ended
    why=$(cat /run/agent.log)
    return 1
}
