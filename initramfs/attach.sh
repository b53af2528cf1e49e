# shellcheck shell=dash disable=SC2034,SC2154 # variables of lib.sh and of others
# Starts the swap agent for /init and the hooks in /root.

load_nbd() {
    # If there is swap, the driver was loaded together with the network card's.
    [ -e /sys/block/nbd0 ] || modprobe nbd
}

launched=''

# launch_agent TOKEN KEY=VALUE...: start an agent that waits for start_agent with the same words. The
# keys are those of `agent attach`. Before the network is up this takes no time from the boot.
launch_agent() {
    local token=$1
    launched="$*"
    shift
    # New pipes, because the agent before may not have closed its ends yet.
    rm -f /run/agent.go /run/agent.answer /run/agent.log
    mkfifo /run/agent.go /run/agent.answer
    [ -z "$server" ] || export NETBOOT_BEACON="$server/beacon/$ticket"
    # Opening a pipe waits until its other end is open, and a child that ends meanwhile would interrupt
    # it: all orphans are children of this process. Opening both ends at once never waits.
    exec 3<>/run/agent.answer 4<>/run/agent.go
    NETBOOT_TOKEN=$token /sbin/agent attach "$@" wait=yes \
        </run/agent.go >&3 3>&- 4>&- 2>>/run/agent.log &
    agent=$!
    exec 5</run/agent.answer 3>&-
}

# start_agent TOKEN KEY=VALUE...: start the agent of launch_agent, or
# another one. Set $answer to its line, device=PATH size=BYTES connections=N. If it fails, set $why, and
# $code to its exit status (a 3 from an earlier call stays). /run/agent.log has its warnings.
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
