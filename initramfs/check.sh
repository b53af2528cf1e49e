# shellcheck shell=dash disable=SC2034,SC2154 # shared with init
# Checks that the initramfs is an unchanged result of `netboot build`. Bad RAM, a bad network card or
# images that changed during the boot damage drivers, or lose them.
#
# Each archive contains sums/NAME, a list of its files and of the build's key; base contains the key
# (netboot/images/initramfs.py). Some files cannot be checked here: the kernel has unpacked itself (with
# its own checksum), and this file, busybox and /init run already.

# check_images: set $broken to the damage, empty if there is none. Delete files that must not be used.
check_images() {
    local line word kernel name bad='' more=0 builds=1
    [ ! -e "$run/checked" ] || return 0 # /init has started before, and has changed files
    read -r line <"$proc/cmdline"
    # An archive that the kernel could not unpack left no list. The boot loader names all archives.
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
        # Without this file the PC may still report the damage; with it the PC may crash.
        lib/* | sbin/* | root/*) rm -f "$name" ;;
        esac
        [ ${#bad} -lt 200 ] && bad="$bad $name" || more=$((more + 1))
    done <"$run/checked"
    [ $more = 0 ] || bad="$bad and $more more"
    broken="damaged or missing in the initramfs:$bad"
    [ $builds = 1 ] || broken="kernel and initramfs are from different builds"
    broken="$broken; boot again: the PC then gets the full initramfs. If only this PC fails, its RAM or"
    broken="$broken cable is bad. If all PCs fail, run 'netboot build' and restart the server"
    console "$broken"
}

# Fail here, because the network is up now and the server can be told.
stage_images() {
    why=$broken broken=''
    [ -z "$why" ]
}
