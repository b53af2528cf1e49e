#!/bin/sh
# shellcheck shell=dash disable=SC2154 # udhcpc sets the environment
# What udhcpc runs at each event, with what it learned in the environment.
# shellcheck source=/dev/null
. /lib.sh
case $1 in
deconfig)
    ip addr flush dev "$interface"
    ;;
bound | renew)
    ip addr flush dev "$interface"
    ip addr add "$ip/${mask:-24}" broadcast + dev "$interface"
    # Several routers are possible: the first is the best (RFC 2132, section 3.5).
    [ -z "${router:-}" ] || ip route replace default via "${router%% *}" dev "$interface"
    # For /init, which runs it as shell: nothing but addresses and numbers goes in.
    address "$ip" && printf 'client=%s bits=%d\n' "$ip" "${mask:-24}" >"$run/dhcp"
    ;;
esac
