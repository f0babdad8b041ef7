# Sourced by scripts/run, scripts/test and scripts/cross-toolchain: getting the tools they need.
#
#   want WHAT PACKAGE WHY    WHAT is a command, or a file by its full path
#   install_missing          installs the packages of what is not there, or stops

missing_packages=''
missing_text=''
may_install=yes

say() {
    printf '%s\n' "$*"
}

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 2
}

# The comment that the calling script opens with.
usage() {
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
}

have() {
    case $1 in
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

want() {
    have "$1" && return
    missing_packages="$missing_packages $2"
    missing_text="$missing_text
    $1 ($3): Debian package $2"
}

want_build() {
    want cmake cmake 'configures the build'
    want ninja ninja-build 'runs the build'
    # Any tool set will do (cmake/freestanding.cmake chooses); gcc is the smallest to install.
    have x86_64-elf-gcc || { have clang && have ld.lld; } || want gcc gcc 'compiles libmm and the minikernel'
}

want_boot_direct() {
    want qemu-system-x86_64 qemu-system-x86 'is the machine that the minikernel runs on'
}

want_boot_bios() {
    want_boot_direct
    want grub-mkrescue grub-common 'makes the boot image'
    want /usr/lib/grub/i386-pc/multiboot2.mod grub-pc-bin 'is GRUB for BIOS'
    want xorriso xorriso 'writes the boot image'
}

want_boot_uefi() {
    want_boot_bios
    want /usr/lib/grub/x86_64-efi/multiboot2.mod grub-efi-amd64-bin 'is GRUB for UEFI'
    want mformat mtools "makes the boot image's UEFI partition"
    want "${OVMF:-/usr/share/ovmf/OVMF.fd}" ovmf 'is UEFI firmware for QEMU'
}

install_missing() {
    if [ -n "$missing_packages" ]; then
        say "Not on this machine:$missing_text"
        [ $may_install = yes ] || die 'nothing is installed because of --no-install'
        have apt-get || die 'no apt-get here: please install these tools, then run this again'
        sudo=
        if [ "$(id -u)" -ne 0 ]; then
            have sudo || die "not root, and no sudo. As root: apt-get install$missing_packages"
            sudo=sudo
        fi
        say "Installing:$missing_packages"
        # shellcheck disable=SC2086
        { $sudo apt-get update -q &&
            $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
                $missing_packages; } </dev/null || die 'apt-get failed'
        missing_packages=''
    fi
    have cmake || return 0 # nobody wanted it
    cmake_version=$(cmake --version | sed -n 's/^cmake version \([0-9]*\.[0-9]*\).*/\1/p')
    [ "${cmake_version%.*}" -gt 3 ] || [ "${cmake_version#*.}" -ge 25 ] ||
        die "cmake 3.25 or newer is needed, this is $cmake_version"
}
