"""x86_64 page tables in physical memory, read as the manual has it: Intel SDM vol. 3A, chapter 4.

4.5 with tables 4-14 to 4-20 for the entries, 4.6 for rights, 4.9.2 for memory types, 11.12 for the PAT.
Shares nothing with libmm, not even names.
"""
import struct
from collections import namedtuple

PRESENT, WRITE, USER, PWT, PCD, ACCESSED, DIRTY = (1 << bit for bit in range(7))
PAGE_SIZE = PAT_SMALL = 1 << 7  # one or the other, by level
GLOBAL = 1 << 8
PAT_LARGE = 1 << 12
NO_EXECUTE = 1 << 63
ADDRESS = (1 << 52) - (1 << 12)
CR4_LA57 = 1 << 12
EFER_NXE = 1 << 11
MEMORY_TYPES = {0: "UC", 1: "WC", 4: "WT", 5: "WP", 6: "WB", 7: "UC-"}  # table 11-10

# What the registers say, and what frames there are: `has_frame` tells what is RAM.
Machine = namedtuple("Machine", "cr3 cr4 efer pat phys_bits has_frame")
Leaf = namedtuple("Leaf", "virt phys size rights type")
# Where a present entry is, and what the entries above it grant (WRITE, USER; NO_EXECUTE: forbidden).
Entry = namedtuple("Entry", "frame index level bits is_leaf above virt")


class Malformed(Exception):
    """What makes the processor fault, or leads out of memory."""


def levels(machine):
    return 5 if machine.cr4 & CR4_LA57 else 4


def canonical(virt, machine):
    width = 12 + 9 * levels(machine)
    return virt | ((1 << 64) - (1 << width)) if virt >> (width - 1) & 1 else virt


def shift(level):
    return 12 + 9 * (level - 1)


def is_leaf(bits, level):
    return level == 1 or (level in (2, 3) and bits & PAGE_SIZE != 0)


def reserved(level, leaf, machine):
    """The bits that must be 0 in a present entry."""
    mask = (1 << 52) - (1 << machine.phys_bits)
    if not machine.efer & EFER_NXE:
        mask |= NO_EXECUTE
    if level > 3:
        mask |= PAGE_SIZE
    if leaf and level > 1:
        mask |= (1 << shift(level)) - (1 << 13)
    return mask


def memory_type(bits, level, machine):
    high = bits & (PAT_SMALL if level == 1 else PAT_LARGE)
    index = (4 if high else 0) | (2 if bits & PCD else 0) | (1 if bits & PWT else 0)
    return MEMORY_TYPES[machine.pat >> 8 * index & 7]


def rights_text(write, user, execute):
    return "r" + ("w" if write else "-") + ("x" if execute else "-") + ("u" if user else "-")


class Walk:
    """All that the tables below `root` translate: leaves in the order of their addresses, and the
    frames of tables. `memory` gives the bytes of a frame. With `entries` every present entry is kept."""

    def __init__(self, machine, memory, root, slots=range(512), limit=100000, entries=False):
        self.machine, self.memory, self.limit = machine, memory, limit
        self.leaves, self.tables = [], []
        self.entries = [] if entries else None
        self.table(root & ADDRESS, levels(machine), 0, WRITE | USER, slots)
        self.leaves.sort()

    def table(self, frame, level, base, above, slots=range(512)):
        if not self.machine.has_frame(frame):
            raise Malformed(f"a table of level {level} at {frame:x}, where no memory is")
        if len(self.tables) >= self.limit:
            raise Malformed(f"more than {self.limit} tables")
        self.tables.append(frame)
        words = struct.unpack("<512Q", self.memory(frame))
        for index in slots:
            if words[index] & PRESENT:
                self.entry(frame, index, level, words[index], above, base + (index << shift(level)))

    def entry(self, frame, index, level, bits, above, base):
        leaf = is_leaf(bits, level)
        wrong = bits & reserved(level, leaf, self.machine)
        virt = canonical(base, self.machine)
        if wrong:
            raise Malformed(f"entry {index} of table {frame:x}, level {level}, for {virt:x}: "
                            f"{bits:x} has reserved bits {wrong:x}")
        if self.entries is not None:
            self.entries.append(Entry(frame, index, level, bits, leaf, above, virt))
        granted = (above & bits & (WRITE | USER)) | ((above | bits) & NO_EXECUTE)
        if not leaf:
            self.table(bits & ADDRESS, level - 1, base, granted)
            return
        size = 1 << shift(level)
        rights = rights_text(granted & WRITE, granted & USER, not granted & NO_EXECUTE)
        self.leaves.append(Leaf(virt, bits & ADDRESS & ~(size - 1), size, rights,
                                memory_type(bits, level, self.machine)))


def joined(leaves, by_size):
    """[virt, bytes, phys, rights, type, size]: neighbours with the same rights and type and frames one
    behind the other, of one size if `by_size` (else the size is 0)."""
    out = []
    for leaf in leaves:
        kind = (leaf.rights, leaf.type, leaf.size if by_size else 0)
        last = out[-1] if out else None
        if last and tuple(last[3:]) == kind and last[0] + last[1] == leaf.virt and \
                last[2] + last[1] == leaf.phys:
            last[1] += leaf.size
        else:
            out.append([leaf.virt, leaf.size, leaf.phys, *kind])
    return out
