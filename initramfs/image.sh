# shellcheck shell=dash disable=SC2034,SC2154 # shared with root/nbd
# Mounts a root image. Its superblock tells its file system.

# read_format DEVICE: set $format to erofs or squashfs. Return false with the reason in $why.
read_format() {
    local start=$run/superblock
    format=''
    why=$(head -c 4096 "$1" 2>&1 >"$start") || {
        rm -f "$start"
        why="reading $1 failed: ${why##*: }"
        return 1
    }
    # The places and the magic numbers are those of the kernel's fs/squashfs/squashfs_fs.h and
    # fs/erofs/erofs_fs.h.
    if [ "$(hex_of "$start" 0)" = 68737173 ]; then
        format=squashfs
    elif [ "$(hex_of "$start" 1024)" = e2e1f5e0 ]; then
        format=erofs
    fi
    rm "$start"
    [ -n "$format" ] || why="the root image is neither an EROFS nor a squashfs"
    [ -n "$format" ]
}

# hex_of FILE OFFSET: print the 4 bytes there in hexadecimal. OFFSET is a multiple of 4.
hex_of() {
    dd if="$1" bs=4 skip=$(($2 / 4)) count=1 2>/dev/null | od -An -v -tx1 | tr -d ' '
}

# mount_image DEVICE FOLDER: mount a root image. Return false with the reason in $why.
mount_image() {
    local format kernel
    if read_format "$1"; then
        # Without crc32c libcrc32c does not load, which erofs needs. Newer kernels have it built in.
        [ "$format" = squashfs ] || modprobe -q crc32c_generic || :
        modprobe -q "$format" || :
        grep -q "[[:blank:]]$format$" "$proc/filesystems" || {
            read -r kernel <"$proc/sys/kernel/osrelease"
            why="Linux $kernel has no $format, the file system of the root image; boot Debian's kernel"
            return 1
        }
        why=$(mount -t "$format" -o ro "$1" "$2" 2>&1) && return 0
    fi
    case $1 in /dev/dm-*) why="$why; is the image the one whose hash this boot has? Boot again" ;; esac
    return 1
}
