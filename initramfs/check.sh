# shellcheck shell=dash disable=SC2034,SC2154 # shared with init
# Whether the initramfs is what `netboot build` made: bad RAM, a bad network card or a server whose
# images changed in between give a PC drivers that crash, or none.
#
# Each archive has brought the list sums/NAME of its files and of the build's key, which base holds
# (netboot/images/initramfs.py). What cannot be checked here: the kernel has unpacked itself (by a
# checksum of its own), and this file, busybox and /init run already.

# check_images: sets $broken to what is wrong, empty if nothing, and takes away what must not be used.
check_images() {
    local line word kernel name bad='' more=0 builds=1
    [ ! -e "$run/checked" ] || return 0 # this is a second start of /init, which has changed files
    read -r line <"$proc/cmdline"
    # An archive that the kernel could not unpack has left no list. The boot loader names them all.
    for word in $line; do
        case $word in
        initrd=initramfs*.img) [ -e "sums/${word#initrd=}" ] || bad="$bad ${word#initrd=}" ;;
        esac
    done
    read -r kernel <"$proc/sys/kernel/osrelease"
    [ -d "lib/modules/$kernel" ] || builds=2
    sha256sum -c sums/* >"$run/checked" 2>/dev/null && [ -z "$bad" ] && [ $builds = 1 ] && return
    while IFS=: read -r name word; do
        case $word in ' FAILED'*) ;; *) continue ;; esac
        case $name in
        etc/netboot.build) builds=2 ;;
        # Without it this PC may still come as far as to report; with it, it may crash.
        lib/* | sbin/* | root/*) rm -f "$name" ;;
        esac
        [ ${#bad} -lt 200 ] && bad="$bad $name" || more=$((more + 1))
    done <"$run/checked"
    [ $more = 0 ] || bad="$bad and $more more"
    broken="damaged or missing in the initramfs:$bad"
    [ $builds = 1 ] || broken="kernel and initramfs are of two builds"
    broken="$broken; boot again: it gets the whole initramfs then. Always this PC: its RAM or its cable"
    broken="$broken is bad. Every PC: run 'netboot build' and restart the server"
    console "$broken"
}

# The network is up now, to tell the server.
stage_images() {
    why=$broken broken=''
    [ -z "$why" ]
}
