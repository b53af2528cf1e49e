# shellcheck shell=dash disable=SC2034,SC2154 # variables of lib.sh and of others
# How /init and the hooks in /root have the agent attach something.

load_nbd() {
    # With swap it came together with the network card's driver.
    [ -e /sys/block/nbd0 ] || modprobe nbd
}

launched=''

# launch_agent TOKEN KEY=VALUE...: start an agent that waits for start_agent with the same words. The
# keys are those of `agent attach`. Before the network is up this takes no time from the boot.
launch_agent() {
    local token=$1
    launched="$*"
    shift
    # New ones: the agent before may not have closed its ends yet.
    rm -f /run/agent.go /run/agent.answer /run/agent.log
    mkfifo /run/agent.go /run/agent.answer
    [ -z "$server" ] || export NETBOOT_BEACON="$server/beacon/$ticket"
    # To open a pipe whose other end is closed takes a while, and a child that ends meanwhile would
    # break it off: all orphans are children of this process. Open for both, it never waits.
    exec 3<>/run/agent.answer 4<>/run/agent.go
    NETBOOT_TOKEN=$token /sbin/agent attach "$@" wait=yes \
        </run/agent.go >&3 3>&- 4>&- 2>>/run/agent.log &
    agent=$!
    exec 5</run/agent.answer 3>&-
}

# start_agent TOKEN KEY=VALUE...: the agent stays. Sets
# $answer to its line, device=PATH size=BYTES connections=N, or $code to its exit status (3 stays 3, of
# one before) and $why if it has none to say; /run/agent.log holds what the kernel lacks.
start_agent() {
    local ended=0
    [ "$launched" = "$*" ] || launch_agent "$@"
    launched=''
    echo attach >&4
    exec 4>&-
    answer=''
    read -r answer <&5 || :
    exec 5<&-
    [ -z "$answer" ] || return 0
    wait "$agent" || ended=$?
    [ "$code" = 3 ] || code=$ended
    why=$(cat /run/agent.log)
    return 1
}
