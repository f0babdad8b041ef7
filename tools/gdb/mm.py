"""mm.py - libmm in a stopped kernel: commands and pretty-printers for gdb.

    gdb kernel.elf -x tools/gdb/mm.py -ex 'target remote :1234'

    mm map                 the memory map
    mm pmm                 frames: pools, what CPUs have in stock, and what the bitmaps say
    mm walk ADDR           the page-table entries that translate a virtual address
    mm frame PHYS          what a physical address is
    mm heap [--blocks]     regions of the heap, and the blocks in them

Each takes --object EXPR, a struct mm or a pointer to one; without it, it is `mm_default` of
mm/names.h. walk takes --space EXPR, a struct mm_space; without it, it walks what CR3 has. Addresses
are expressions of gdb: mm walk $rsp, mm frame mm_default.kernel.root. The target is only read, and
no function of it is called: the commands work in the middle of a crash, also where libmm's locks
are held. print/r shows a struct without its pretty-printer.

Physical memory is read from QEMU's stub, whatever is mapped; from any other stub through the window
of the object, whose addresses must be mapped then.
"""
import re
import struct

import gdb

FRAME = 4096
PRESENT, LARGE, NX = 1, 1 << 7, 1 << 63
ENTRY_FRAME = 0x000FFFFFFFFFF000  # bits 12 to 51
FLAGS = {1: "write", 2: "user", 3: "write-through", 4: "uncached", 5: "accessed", 6: "dirty",
         8: "global", 63: "no-execute"}
MASK64 = (1 << 64) - 1


# ---- values ----

def enumerators(tag, prefix):
    """{number: name without its prefix} of an enum, from the debug information."""
    try:
        fields = gdb.lookup_type("enum " + tag).fields()
    except gdb.error:
        return {}
    return {field.enumval: field.name.removeprefix(prefix) for field in fields}


def named(value, tag, prefix):
    return enumerators(tag, prefix).get(int(value), f"? ({int(value)})")


def raw(address):
    """The number in an mm_phys_t, an mm_virt_t or a pointer."""
    if address.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT:
        address = address["raw"]
    return int(address) & MASK64


def enumerated(tag, prefix, name):
    """The number of an enumerator, or None."""
    return next((number for number, known in enumerators(tag, prefix).items() if known == name), None)


def type_name(value):
    """The name of a typedef, or the tag of a struct."""
    type_ = value.type.unqualified()
    return type_.name if type_.code == gdb.TYPE_CODE_TYPEDEF else type_.strip_typedefs().tag


def counted_frames(count):
    return f"{count} frame" + ("" if count == 1 else "s")


def span(start, size):
    return f"0x{start:x} - 0x{(start + size - 1) & MASK64:x}"


def text(pointer):
    return pointer.string(errors="replace") if int(pointer) else "(none)"


def rights(prot):
    prot = int(prot)
    letters = "".join(letter if prot >> bit & 1 else "-" for bit, letter in enumerate("rwx"))
    return letters + (" user" if prot & 8 else "")


def memory(address, size):
    return bytes(gdb.selected_inferior().read_memory(address, size))


def fields_of(type_, data, base=0):
    """{name: number or list of numbers} of integers and arrays of them in a struct's bytes."""
    out = {}
    for field in type_.fields():
        size, depth = field.type, []
        while size.code == gdb.TYPE_CODE_ARRAY:
            depth.append(size.range()[1] + 1)
            size = size.target()
        code = {1: "B", 2: "H", 4: "I", 8: "Q"}.get(size.sizeof)
        if code and size.strip_typedefs().code in (gdb.TYPE_CODE_INT, gdb.TYPE_CODE_PTR):
            count = field.type.sizeof // size.sizeof
            found = struct.unpack_from(f"<{count}{code}", data, base + field.bitpos // 8)
            out[field.name] = list(found) if depth else found[0]
    return out


# ---- physical memory ----

class Physical:
    """Reads physical memory: `with Physical(mm) as physical: physical.read(address, size)`."""

    def __init__(self, mm):
        self.window = mm["window"]
        self.qemu = False

    def mode(self, query):
        said = gdb.execute(f"maintenance packet {query}", to_string=True)
        return re.search(r'received: "(.*)"', said)

    def __enter__(self):
        try:
            answer = self.mode("qqemu.PhyMemMode")
            self.qemu = bool(answer) and answer[1] in "01" and answer[1] != ""
        except gdb.error:
            self.qemu = False  # not a remote target
        return self

    def __exit__(self, *unused):
        return False

    def read(self, address, size):
        """Bytes, or None where nothing can be read."""
        try:
            return self.read_qemu(address, size) if self.qemu else self.read_window(address, size)
        except gdb.MemoryError:
            return None

    def read_qemu(self, address, size):
        self.mode("Qqemu.PhyMemMode:1")
        try:
            return memory(address, size)
        finally:
            self.mode("Qqemu.PhyMemMode:0")

    def read_window(self, address, size):
        virt = shown_at(self.window, address, size)
        return None if virt is None else memory(virt, size)


def shown_at(window, phys, size=1):
    """Where a window shows physical memory, or None."""
    for i in range(int(window["count"])):
        piece = window["piece"][i]
        first = raw(piece["first"])
        if first <= phys and phys + size <= first + int(piece["bytes"]):
            return raw(piece["virt"]) + phys - first
    return None


# ---- memory map ----

def ranges(mm):
    map_ = mm["map"]
    return [map_["range"][i] for i in range(int(map_["count"]))]


def range_kind(value):
    return (named(value["type"], "mm_mem_type", "MM_MEM_"),
            named(value["use"], "mm_mem_use", "MM_USE_"))


def range_line(value):
    start, size = raw(value["start"]), int(value["bytes"])
    kind, use = range_kind(value)
    return f"0x{start:016x} - 0x{start + size - 1:016x} {size // 1024:11} KiB  {kind}, {use}"


def show_map(mm, words):
    no_more(words)
    must_be_started(mm, mm["map"]["count"])
    print(f"memory map: {len(ranges(mm))} ranges, room for {int(mm['map']['capacity'])}, "
          f"{int(mm['map']['phys_bits'])}-bit addresses")
    for value in ranges(mm):
        node = int(value["node"])
        print("  " + range_line(value) + (f", node {node}" if node else ""))


# ---- frames ----

CACHED, HOLES, KIND_MASK = 0x80, 0x40, 7  # MM_KIND_CACHED, MM_KIND_HOLES, MM_KIND_MASK
ZONE_ENDS = (1 << 8, 1 << 12, 1 << 20)  # frames; the last zone has none


def zone_of(frame):
    return sum(frame >= end for end in ZONE_ENDS)


class Frames:
    """The PMM's bitmaps, side tables and stocks, as src/pmm/pmm_internal.h, stock.h and side.c have
    them. Bitmaps of a chunk are numbers: bit i is its frame i."""

    def __init__(self, pmm):
        self.pmm = pmm
        try:
            record = pmm["record"].type.target().strip_typedefs()
            self.kinds = {number: name for number, name
                          in enumerators("mm_chunk_kind", "MM_KIND_").items()}
            self.side = pmm["side"].dereference()
            known = {"PLAIN", "MIXED", "HEAD", "TAIL", "UNUSED"} <= set(self.kinds.values())
            if not known or not {"free", "set", "side"} <= {field.name for field in record.fields()}:
                raise TypeError
            self.page, self.hole = self.side["page"], self.side["hole"]
        except (TypeError, gdb.error):
            raise gdb.GdbError("mm.py does not know the PMM of this kernel, or libmm.a was built "
                               "without -g") from None
        self.count = int(pmm["chunk_count"])
        self.per_chunk = 64 * (pmm["bitmap"].type.target().range()[1] + 1)
        self.all = (1 << self.per_chunk) - 1
        data = memory(int(pmm["record"]), self.count * record.sizeof) if self.count else b""
        self.records = [fields_of(record, data, i * record.sizeof) for i in range(self.count)]
        self.kind = memory(int(pmm["kind"]), self.count) if self.count else b""
        self.bits = memory(int(pmm["bitmap"]), self.count * self.per_chunk // 8) if self.count else b""
        self.regions = sorted((int(region["start"]), int(region["end"]), int(region["chunk"]),
                               int(region["pool"])) for region in
                              (pmm["region"][i] for i in range(int(pmm["region_count"]))))
        self.pools = [pmm["pool"][i] for i in range(int(pmm["pool_count"]))]
        self.stock = self.stocks()
        self.in_stock = {frame: where for where, frames in self.stock for frame in frames}

    # ---- what is in stock ----

    def slots(self, array, count):
        count = min(int(count), array.type.range()[1] + 1)
        data = memory(raw(array.address), count * 8) if count else b""
        return [address // FRAME for address in struct.unpack(f"<{count}Q", data)]

    def stocks(self):
        """[(where, frames)] of magazines, zeroed stocks and depots."""
        out = []
        for i in range(int(self.pmm["cpu_count"])):
            cpu = self.pmm["cpu"][i]
            for name in ("loaded", "spare"):
                magazine = cpu[name].dereference()
                out.append((f"{name} magazine of CPU {i}", self.slots(magazine["slot"], magazine["n"])))
            zeroed = cpu["zeroed"]
            out.append((f"zeroed stock of CPU {i}", self.slots(zeroed["slot"], zeroed["n"])))
        full = int(self.pmm["magazine_frames"])
        for i in range(int(self.pmm["node_count"])):
            node = self.pmm["node"][i]
            frames = [frame for j in range(int(node["depot"]["count"]))
                      for frame in self.slots(node["depot"]["slot"][j], full)]
            out.append((f"depot of node {int(node['id'])}", frames))
        return out

    # ---- chunks ----

    @staticmethod
    def number(words):
        return sum(word << 64 * i for i, word in enumerate(words))

    def hole_of(self, chunk, name):
        bitmap = self.hole[self.records[chunk]["side"]][name]
        return self.number(struct.unpack(f"<{self.per_chunk // 64}Q",
                                         memory(raw(bitmap.address), self.per_chunk // 8)))

    def has_holes(self, chunk):
        return self.kind[chunk] & (CACHED | HOLES) == HOLES

    def kind_of(self, chunk):
        kind = self.kind[chunk]
        return "PLAIN" if kind & CACHED else self.kinds.get(kind & KIND_MASK, "?")

    def stored(self, chunk):
        """The bitmap, whether it is looked at or not."""
        size = self.per_chunk // 8
        return int.from_bytes(self.bits[chunk * size:(chunk + 1) * size], "little")

    def free(self, chunk):
        """Frames that are free in the pool; what is in stock is not."""
        count = self.records[chunk]["free"]
        return {0: 0, self.per_chunk: self.all}.get(count, self.stored(chunk))

    def managed(self, chunk):
        if self.has_holes(chunk):
            return self.hole_of(chunk, "managed")
        return 0 if self.kind_of(chunk) == "UNUSED" else self.all

    def ram(self, chunk):
        return self.hole_of(chunk, "ram") if self.has_holes(chunk) else self.all

    def tails(self, chunk):
        """Frames that continue an allocation."""
        kind = self.kind_of(chunk)
        if kind == "HEAD":
            return self.all - 1
        if kind == "TAIL":
            return self.all
        if kind != "MIXED":
            return 0
        if self.has_holes(chunk):
            return self.hole_of(chunk, "tails")
        table = self.records[chunk]["side"]
        words = self.per_chunk // 64
        data = memory(int(self.page[table // 64]) + table % 64 * 8 * words, 8 * words)
        return self.number(struct.unpack(f"<{words}Q", data))

    def set_has(self, pool, number, member):
        """Is the chunk a member of the set, in the lowest level of its bitmap?"""
        sets = pool["sets"]
        word = sets["word"] + (number * int(sets["words"]) + int(sets["start"][0]) + member // 64)
        return bool(int(word.dereference()) >> member % 64 & 1)

    def chunks_of(self, region):
        start, end, first, _ = region
        return range(first, first + (end - 1) // self.per_chunk - start // self.per_chunk + 1)

    def chunks_of_pool(self, pool):
        first = int(pool["chunk_first"])
        return range(first, first + int(pool["sets"]["chunks"]))

    @staticmethod
    def counted(bits, chunks):
        return sum(bin(bits(i)).count("1") for i in chunks)

    # ---- one frame ----

    def has(self, frame, bits):
        for start, end, first, _ in self.regions:
            if start <= frame < end:
                chunk = first + frame // self.per_chunk - start // self.per_chunk
                return bool(bits(chunk) >> frame % self.per_chunk & 1)
        return False

    def is_own(self, frame):
        """Of a side table? Known where there is a byte for each frame."""
        for start, end, first, _ in self.regions:
            if int(self.pmm["owner"]) and start <= frame < end:
                at = (first - start // self.per_chunk) * self.per_chunk + frame
                return int(self.pmm["owner"][at]) == enumerated("mm_owner", "MM_OWNER_", "PMM")
        return False

    def allocation(self, frame):
        """First frame and length of the allocation that holds an allocated frame."""
        first, end = frame, frame + 1
        while self.has(first, self.tails) and self.has(first - 1, self.managed):
            first -= 1
        while self.has(end, self.tails):
            end += 1
        return first, end - first


def pool_line(frames, number, pool):
    zone = named(pool["zone"], "mm_zone", "MM_ZONE_")
    line = f"  pool {number}, node {int(frames.pmm['node'][int(pool['node'])]['id'])}, zone {zone}: " \
           f"{int(pool['managed_frames'])} managed, {int(pool['free_frames'])} free, " \
           f"{int(pool['whole_chunks'])} whole chunks"
    for name, field in (("floor", "floor_frames"), ("reserve", "reserve_frames")):
        line += f", {name} {int(pool[field])}" if int(pool[field]) else ""
    return line + ("" if print_lock(pool["lock"]) == "unlocked" else f", {print_lock(pool['lock'])}")


def agree(name, bitmaps, others, what):
    """A line: the numbers are all the same, or not."""
    if all(number == bitmaps for number, _ in others):
        return f"  {name}: bitmaps, {what} agree"
    return f"  WRONG: {name}: {bitmaps} in the bitmaps, " + ", ".join(
        f"{number} in the {where}" for number, where in others)


def misplaced(frames):
    """Chunks that are not in the set that their record names."""
    sets = enumerators("mm_chunk_set", "MM_SET_")
    none = next(number for number, name in sets.items() if name == "NONE")
    for pool in frames.pools:
        first = int(pool["chunk_first"])
        for chunk in frames.chunks_of_pool(pool):
            number = frames.records[chunk]["set"]
            if number != none and not frames.set_has(pool, number, chunk - first):
                yield chunk


def show_stock(frames):
    mode = named(frames.pmm["mode"], "mm_stock_mode", "MM_MODE_").lower()
    print(f"  in stock: {len(frames.in_stock)} frames; magazines of "
          f"{int(frames.pmm['magazine_frames'])}, mode {mode}")
    for i in range(int(frames.pmm["cpu_count"])):
        cpu = frames.pmm["cpu"][i]
        state = named(cpu["state"], "mm_stock_state", "MM_STOCK_").lower()
        asked = "" if int(cpu["req"]) == int(cpu["done"]) else ", asked to give it back"
        print(f"    CPU {i}, {state}: loaded {int(cpu['loaded']['n'])}, spare {int(cpu['spare']['n'])}, "
              f"zeroed {int(cpu['zeroed']['n'])}{asked}")
    for i in range(int(frames.pmm["node_count"])):
        node = frames.pmm["node"][i]
        print(f"    depot of node {int(node['id'])}: {int(node['depot']['count'])} magazines")


def show_pmm(mm, words):
    no_more(words)
    pmm = mm["pmm"]
    must_be_started(mm, pmm["chunk_count"])
    frames = Frames(pmm)
    every = range(frames.count)
    managed = sum(int(pool["managed_frames"]) for pool in frames.pools)
    free = sum(int(pool["free_frames"]) for pool in frames.pools)
    print(f"frames: {managed} managed, {free + len(frames.in_stock)} free")
    for number, name in sorted(enumerators("mm_zone", "MM_ZONE_").items()):
        pools = [pool for pool in frames.pools if int(pool["zone"]) == number]
        stock = sum(zone_of(frame) == number for frame in frames.in_stock)
        print(f"  zone {name:5} {sum(int(pool['managed_frames']) for pool in pools):9} managed "
              f"{sum(int(pool['free_frames']) for pool in pools) + stock:9} free")
    for number, pool in enumerate(frames.pools):
        print(pool_line(frames, number, pool))
    show_stock(frames)
    for region in frames.regions:
        start, end, _, pool = region
        chunks = frames.chunks_of(region)
        print(f"  region {span(start * FRAME, (end - start) * FRAME)}, pool {pool}: "
              f"{frames.counted(frames.managed, chunks)} frames managed, "
              f"{frames.counted(frames.free, chunks)} free")
    allocations = frames.counted(lambda i: frames.managed(i) & ~frames.free(i) & ~frames.tails(i), every)
    print(f"  {allocations - len(frames.in_stock)} allocations, of which {int(frames.side['frames'])} are "
          f"side tables; metadata {int(pmm['meta_bytes'])} bytes at 0x{raw(pmm['meta']):x}; "
          f"{int(pmm['misuse_count'])} calls refused")
    print(agree("MANAGED", frames.counted(frames.managed, every), [(managed, "pools")], "pools"))
    print(agree("FREE", frames.counted(frames.free, every),
                [(sum(record["free"] for record in frames.records), "chunks"), (free, "pools")],
                "chunks and pools"))
    wrong = list(misplaced(frames))
    if wrong:
        print(f"  WRONG: SETS: {len(wrong)} chunks are not in the set that they name: {wrong[:8]}")
    for frame, where in frames.in_stock.items():
        if not frames.has(frame, frames.managed) or frames.has(frame, frames.free):
            print(f"  WRONG: 0x{frame * FRAME:x} in the {where} is not managed, or free in a pool, too")


def frame_state(frames, frame):
    if frames.has(frame, frames.free):
        return "free"
    if frame in frames.in_stock:
        return f"free, in the {frames.in_stock[frame]}"
    if frames.has(frame, frames.managed):
        if frames.is_own(frame):
            return "allocated, a side table of the PMM"
        first, count = frames.allocation(frame)
        return f"allocated, {counted_frames(count)} from 0x{first * FRAME:x}"
    return "RAM, not managed" if frames.has(frame, frames.ram) else "not managed"


def looks_virtual(mm, number):
    """Is it where the window shows memory, and nowhere in the memory that it shows?"""
    window = mm["window"]
    pieces = [window["piece"][i] for i in range(int(window["count"]))]
    return shown_at(window, number) is None and any(
        raw(piece["virt"]) <= number < raw(piece["virt"]) + int(piece["bytes"]) for piece in pieces)


def show_frame(mm, words):
    phys = address_in(words, "mm_virt_t", "is virtual; try mm walk")
    must_be_started(mm, mm["map"]["count"])
    frame = phys // FRAME * FRAME
    print(f"physical 0x{phys:x}, frame {phys // FRAME}:")
    if looks_virtual(mm, phys):
        print("  an address of the window, so virtual; try mm walk")
    at = [value for value in ranges(mm)
          if raw(value["start"]) <= phys < raw(value["start"]) + int(value["bytes"])]
    print("  memory map: " + (range_line(at[0]) if at else "nothing is described here"))
    print("  PMM: " + frame_state(Frames(mm["pmm"]), phys // FRAME))
    with Physical(mm) as physical:
        for level, virt in Tables(mm, physical, raw(mm["kernel"]["root"])).uses_of(frame):
            print(f"  page table of level {level} for 0x{virt:016x}, kernel space")
    virt = shown_at(mm["window"], phys)
    print(f"  window: 0x{virt:x}" if virt is not None else "  not in the window")


# ---- page tables ----

class Tables:
    def __init__(self, mm, physical, root):
        self.physical = physical
        self.root = root
        self.levels = int(mm["vmm"]["paging"]["levels"]) or 4

    @staticmethod
    def shift(level):
        return 12 + 9 * (level - 1)

    @staticmethod
    def is_leaf(level, entry):
        return level == 1 or (level <= 3 and bool(entry & LARGE))

    def canonical(self, address):
        bits = self.shift(self.levels) + 9
        address &= (1 << bits) - 1
        return address | (MASK64 & -1 << bits if address >> bits - 1 else 0)

    def entries(self, table):
        data = self.physical.read(table, FRAME)
        return struct.unpack("<512Q", data) if data else None

    def walk(self, virt):
        """(level, table, index, entry) from the top; entry is None if the table cannot be read."""
        table = self.root
        for level in range(self.levels, 0, -1):
            index = virt >> self.shift(level) & 511
            data = self.physical.read(table + 8 * index, 8)
            entry = struct.unpack("<Q", data)[0] if data else None
            yield level, table, index, entry
            if entry is None or not entry & PRESENT or self.is_leaf(level, entry):
                return
            table = entry & ENTRY_FRAME

    def uses_of(self, frame):
        """(level, first address) of each place where a frame is a table."""
        if frame == self.root:
            yield self.levels, 0
        yield from self.uses_below(self.root, self.levels, 0, frame)

    def uses_below(self, table, level, base, frame):
        for index, entry in enumerate(self.entries(table) or ()):
            if not entry & PRESENT or self.is_leaf(level, entry):
                continue
            virt = base + (index << self.shift(level))
            if entry & ENTRY_FRAME == frame:
                yield level - 1, self.canonical(virt)
            if level > 2:
                yield from self.uses_below(entry & ENTRY_FRAME, level - 1, virt, frame)


def loaded_root():
    """The root in CR3, or None where the stub does not show it; 0 while paging is off."""
    try:
        if not int(gdb.parse_and_eval("$cr0").cast(gdb.lookup_type("unsigned long"))) >> 31 & 1:
            return 0
        value = gdb.parse_and_eval("$cr3")
        if value.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT:
            return int(value["PDBR"]) << 12
        return int(value) & ENTRY_FRAME
    except (gdb.error, TypeError):
        return None


def entry_line(level, table, index, entry):
    where = f"level {level}, entry {index} of table 0x{table:x}: "
    if entry is None:
        return where + "cannot be read"
    if not entry & PRESENT:
        return where + f"0x{entry:x} -> not present"
    what, target = "table", entry & ENTRY_FRAME
    if Tables.is_leaf(level, entry):
        what, target = "page", target & ~((1 << Tables.shift(level)) - 1)
    flags = [name for bit, name in FLAGS.items() if entry >> bit & 1]
    return where + f"0x{entry:x} -> {what} 0x{target:x}, {' '.join(flags) or 'read only'}"


def root_to_walk(mm, space):
    """The root, and whose it is."""
    kernel, loaded = raw(mm["kernel"]["root"]), loaded_root()
    if space:
        root = raw(struct_of(space, "mm_space")["root"])
    else:
        root = kernel if loaded is None else loaded
    if root == 0:
        raise gdb.GdbError("there are no page tables yet")
    return root, "kernel space" if root == kernel else f"not the kernel space, which is 0x{kernel:x}"


def show_walk(mm, words):
    space = option(words, "--space")
    virt = address_in(words, "mm_phys_t", "is physical; try mm frame")
    root, whose = root_to_walk(mm, space)
    print(f"walk of 0x{virt:016x} from 0x{root:x}, {whose}")
    with Physical(mm) as physical:
        tables = Tables(mm, physical, root)
        if virt != tables.canonical(virt):
            print("  not canonical")
            return
        allow = 7
        for level, table, index, entry in tables.walk(virt):
            print("  " + entry_line(level, table, index, entry))
            if entry is not None and entry & PRESENT:
                allow &= 1 | (entry & 2) | (0 if entry & NX else 4)
                user = bool(entry & 4) if level == tables.levels else user and bool(entry & 4)
    if entry is None or not entry & PRESENT:
        print("  not mapped")
        return
    size = 1 << Tables.shift(level)
    phys = entry & ENTRY_FRAME & ~(size - 1) | virt & size - 1
    print(f"  mapped to 0x{phys:x} by a page of {size // 1024} KiB, {rights(allow | user * 8)}")


# ---- heap ----

class Region:
    """A region of the heap and the blocks in it, as src/heap/block.h and region.h have them."""

    def __init__(self, heap, pointer):
        self.secret = int(heap["secret"])
        self.value = pointer.dereference()
        self.start, self.size = raw(self.value["pages"]), int(self.value["bytes"])
        self.first = raw(pointer) + pointer.type.target().sizeof
        self.block = self.value["free"].type.target().strip_typedefs()
        self.states = {number: name for number, name
                       in enumerators("block_state", "BLOCK_").items()}
        self.data = memory(self.start, self.size)

    @staticmethod
    def fold(h, word):
        h = (h ^ word) * 0x9E3779B97F4A7C15 & MASK64
        return h ^ h >> 32

    def seal(self, at, block):
        lengths = block["units"] | block["units_before"] << 32
        return self.fold(self.fold(self.secret ^ at, lengths), block["state"]) & 0xFFFFFFFF

    def blocks(self):
        """(address of the caller's bytes, their number, state); state None: cannot be believed."""
        unit, at = self.block.sizeof, self.first
        while self.start <= at <= self.start + self.size - unit:
            block = fields_of(self.block, self.data, at - self.start)
            if block["seal"] != self.seal(at, block):
                yield at + unit, 0, None
                return
            state = self.states.get(block["state"])
            if state == "END":
                return
            yield at + unit, (block["units"] - 1) * unit, state
            at += block["units"] * unit


def regions_of(heap):
    pointer, seen = heap["region"], 0
    while int(pointer) and seen < 100000:
        yield Region(heap, pointer)
        pointer, seen = pointer["next"], seen + 1


def show_heap(mm, words):
    listed = "--blocks" in words
    if listed:
        words.remove("--blocks")
    no_more(words)
    heap = mm["heap"]
    must_be_started(mm, heap["page_bytes"])
    print(f"heap: {int(heap['page_bytes'])} bytes of pages; in use {int(heap['used_bytes'])} bytes "
          f"in {int(heap['live_blocks'])} blocks")
    print(f"  {int(heap['alloc_count'])} blocks handed out, {int(heap['free_count'])} given back, "
          f"{int(heap['fail_count'])} times no memory, {int(heap['misuse_count'])} calls refused")
    live = 0
    for region in regions_of(heap):
        blocks = list(region.blocks())
        in_use = [block for block in blocks if block[2] == "LIVE"]
        free = [block for block in blocks if block[2] == "FREE"]
        live += len(in_use)
        print(f"  region {span(region.start, region.size)}: {len(in_use)} live blocks of "
              f"{sum(block[1] for block in in_use)} bytes, {len(free)} free of "
              f"{sum(block[1] for block in free)}")
        for at, size, state in blocks:
            if state is None:
                print(f"  WRONG: the header of the block at 0x{at:x} is damaged")
            elif listed:
                print(f"    0x{at:x} {size:8} bytes  {state}")
    if live != int(heap["live_blocks"]):
        print(f"  WRONG: {live} live blocks in the regions, {int(heap['live_blocks'])} counted")


# ---- commands ----

def option(words, name):
    """The word behind an option, both taken out of `words`; None if it is not there."""
    if name not in words:
        return None
    at = words.index(name)
    if at + 1 == len(words):
        raise gdb.GdbError(f"{name} needs an expression")
    value = words[at + 1]
    del words[at:at + 2]
    return value


def no_more(words):
    if words:
        raise gdb.GdbError(f"too many words: {' '.join(words)}")


def must_be_started(mm, part):
    """A part that is used without mm_start() is shown, one that holds nothing is not."""
    if int(mm["state"]) == 0 and int(part) == 0:
        live = gdb.selected_inferior().pid != 0
        raise gdb.GdbError("not started: " + ("mm_start() has not been here yet" if live else
                                              "no kernel is running (target remote)"))


def is_expression(word):
    try:
        gdb.parse_and_eval(word)
    except gdb.error:
        return False
    return True


def address_in(words, other, hint):
    """What is left is one expression, which may have spaces; `other` is the type to refuse."""
    if not words:
        raise gdb.GdbError("which address?")
    expression = " ".join(words)
    try:
        value = gdb.parse_and_eval(expression)
        if value.type.strip_typedefs().code in (gdb.TYPE_CODE_FUNC, gdb.TYPE_CODE_ARRAY):
            value = value.address
        if type_name(value) != other:
            return raw(value)
    except gdb.error as reason:
        if len(words) > 1 and all(is_expression(word) for word in words):
            no_more(words[1:])
        raise gdb.GdbError(f"{expression} is no address: {reason}") from None
    raise gdb.GdbError(f"{expression} {hint}")


def struct_of(expression, tag):
    try:
        value = gdb.parse_and_eval(expression)
        if value.type.strip_typedefs().code == gdb.TYPE_CODE_PTR:
            value = value.dereference()
    except gdb.error as reason:
        raise gdb.GdbError(f"struct {tag}: {reason}") from None
    if value.type.strip_typedefs().tag != tag:
        raise gdb.GdbError(f"{expression} is no struct {tag}")
    return value


class Mm(gdb.Command):
    """libmm: mm map, mm pmm, mm walk ADDR, mm frame PHYS, mm heap [--blocks]; --object EXPR."""

    def __init__(self):
        super().__init__("mm", gdb.COMMAND_DATA, prefix=True)

    def invoke(self, argument, from_tty):
        gdb.execute("help mm")


class Show(gdb.Command):
    def __init__(self, name, show, argument, doc):
        self.__doc__ = f"{doc}\nmm {name}{' ' + argument if argument else ''} [--object EXPR]"
        self.show = show
        super().__init__("mm " + name, gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def invoke(self, argument, from_tty):
        words = gdb.string_to_argv(argument)
        mm = struct_of(option(words, "--object") or "mm_default", "mm")
        try:
            self.show(mm, words)
        except gdb.MemoryError as reason:
            raise gdb.GdbError(f"{reason} (is libmm started, and its space loaded?)") from None
        except gdb.error as reason:
            raise gdb.GdbError(f"mm: {reason}") from None


# ---- pretty-printers ----

def print_lock(value):
    owner = int(value["owner"])
    if int(value["ticket"]) == int(value["serving"]):
        return "unlocked"
    return f"locked by CPU {owner - 1}" if owner else "locked"


def print_cpuset(value):
    words = [int(value["bits"][i]) for i in range(value["bits"].type.range()[1] + 1)]
    return "CPUs {%s}" % ", ".join(str(64 * i + bit) for i, word in enumerate(words)
                                   for bit in range(64) if word >> bit & 1)


def print_report(value):
    kind = named(value["kind"], "mm_report_kind", "MM_REPORT_").lower()
    found, expected = int(value["value"][0]), int(value["value"][1])
    pair = f" (0x{found:x}, 0x{expected:x})" if found or expected else ""
    line = f"{kind}: {text(value['what'])}: 0x{int(value['address']):x}{pair} in {text(value['where'])}"
    caller = raw(value["caller"])
    return line + (f", called from 0x{caller:x}" if caller else "")


def print_pmm(value):
    pools = [value["pool"][i] for i in range(int(value["pool_count"]))]
    if not pools:
        return "no frames"
    free = sum(int(pool["free_frames"]) for pool in pools) + len(Frames(value).in_stock)
    mode = named(value["mode"], "mm_stock_mode", "MM_MODE_").lower()
    return f"{free} of {sum(int(pool['managed_frames']) for pool in pools)} frames free, mode {mode}"


def print_space(value):
    return f"root 0x{raw(value['root']):x}, {int(value['table_count'])} tables"


def print_step(value):
    prot = int(value["prot"])
    line = f"level {int(value['level'])}, entry {int(value['index'])} of table " \
           f"0x{raw(value['table']):x}: 0x{int(value['entry']):x} -> "
    if not prot:
        return line + "not present"
    return line + f"{'page' if int(value['leaf']) else 'table'} 0x{raw(value['to']):x}, {rights(prot)}"


def print_mapping(value):
    """mm_map_request, mm_space_run, mm_image_segment, mm_keep"""
    virt, phys, size = raw(value["virt"]), raw(value["phys"]), int(value["bytes"])
    line = f"{span(virt, size)} -> 0x{phys:x}, {rights(value['prot'])}" if size else "nothing"
    return line + ("" if not has_field(value, "type") else
                   ", " + named(value["type"], "mm_memtype", "MM_MEMTYPE_"))


def print_translation(value):
    return f"0x{raw(value['phys']):x} by a page of {int(value['leaf_bytes']) // 1024} KiB, " \
           f"{rights(value['prot'])}, {named(value['type'], 'mm_memtype', 'MM_MEMTYPE_')}"


def print_request(value):
    count, order = int(value["count_frames"]), int(value["order"])
    line = f"{count} frames" if count else f"2^{order} frames"
    for name in ("lowest", "highest", "align_bytes", "boundary_bytes", "flags", "node"):
        number = raw(value[name])
        line += f", {name} 0x{number:x}" if number else ""
    return line


def print_range(value):
    size = int(value["bytes"])
    return f"{span(raw(value['start']), size)}, {size // 1024} KiB" if size else "empty"


def print_mem_range(value):
    kind, use = range_kind(value)
    return f"{print_range(value)}, {kind}, {use}"


def print_piece(value):
    size = int(value["bytes"])
    return f"{span(raw(value['first']), size)} at 0x{raw(value['virt']):x}" if size else "empty"


def has_field(value, name):
    return any(field.name == name for field in value.type.strip_typedefs().fields())


LINES = {
    "mm_phys_t": lambda v: f"phys 0x{raw(v):x}",
    "mm_virt_t": lambda v: f"virt 0x{raw(v):x}",
    "mm_phys_range": lambda v: "phys " + print_range(v),
    "mm_virt_range": lambda v: "virt " + print_range(v),
    "mm_mem_range": print_mem_range,
    "mm_window_piece": print_piece,
    "mm_lock": print_lock,
    "mm_cpuset": print_cpuset,
    "mm_report": print_report,
    "mm_pmm": print_pmm,
    "mm_frame_request": print_request,
    "mm_frame_info": lambda v: f"{named(v['state'], 'mm_frame_state', 'MM_FRAME_')}, "
                               f"{int(v['count_frames'])} frames from 0x{raw(v['first']):x}",
    "mm_vmm": lambda v: f"{int(v['paging']['levels'])} levels, {print_cpuset(v['online'])}, "
                        f"{int(v['user_spaces'])} user spaces",
    "mm_space": print_space,
    "mm_space_fail": lambda v: f"{named(v['err'], 'mm_err', 'MM_')} at 0x{raw(v['virt']):x}, level "
                               f"{int(v['level'])}, entry 0x{int(v['entry']):x}",
    "mm_map_request": print_mapping,
    "mm_space_run": print_mapping,
    "mm_image_segment": print_mapping,
    "mm_keep": print_mapping,
    "mm_translation": print_translation,
    "mm_walk_step": print_step,
    "mm_arena": lambda v: f"{int(v['range_bytes'])} bytes: {int(v['span_count'])} spans of "
                          f"{int(v['taken_bytes'])} bytes, {int(v['quarantine_count'])} in "
                          f"quarantine, {print_lock(v['lock'])}",
    "mm_arena_span": lambda v: f"{span(int(v['first']) << 12, int(v['frames']) << 12)}, guards "
                               f"{int(v['guard_before'])} and {int(v['guard_after'])}",
    "mm_stacks": lambda v: f"{int(v['mapped'])} of {int(v['slot_count'])} stacks of "
                           f"{int(v['stack_frames']) * 4} KiB mapped, from 0x{raw(v['start']):x}",
    "mm_stack": lambda v: f"stack 0x{raw(v['low']):x} to 0x{raw(v['top']):x}",
    "mm_dma": lambda v: f"{int(v['bytes'])} bytes at 0x{raw(v['phys']):x}, 0x{raw(v['pointer']):x}",
    "mm_heap": lambda v: f"{int(v['live_blocks'])} blocks of {int(v['used_bytes'])} bytes in "
                         f"{int(v['page_bytes'])} bytes of pages, {print_lock(v['lock'])}",
    "mm_boot_text": lambda v: f"{int(v['bytes'])} characters at phys 0x{raw(v['at']):x}",
}
# Structs that hold others: what they are, and which of their members follow.
GROUPS = {
    "mm": ("libmm", ("map", "boot", "window", "pmm", "vmm", "kernel", "arena", "heap", "state")),
    "mm_window": ("window", ("piece",)),
    "mm_memmap": ("memory map", ("range",)),
}


class Line:
    def __init__(self, name, value):
        self.name, self.value = name, value

    def to_string(self):
        try:
            return LINES[self.name](self.value)
        except gdb.MemoryError as reason:
            return f"<{reason}>"


class Group:
    def __init__(self, name, value):
        self.value = value
        self.title, self.members = GROUPS[name]

    def to_string(self):
        return self.title

    def children(self):
        for name in self.members:
            member = self.value[name]
            if has_field(self.value, "count"):  # an array, and how many of it are used
                for i in range(int(self.value["count"])):
                    yield f"{name}[{i}]", member[i]
            else:
                yield name, member


def printer_of(value):
    name = type_name(value)
    if name in LINES:
        return Line(name, value)
    return Group(name, value) if name in GROUPS else None


Mm()
Show("map", show_map, "", "The memory map: what the firmware says, and what lies there.")
Show("pmm", show_pmm, "", "Frames: pools, stocks, regions, and what the bitmaps say.")
Show("walk", show_walk, "ADDR [--space EXPR]", "The page-table entries that translate a virtual address.")
Show("frame", show_frame, "PHYS", "What a physical address is: map, PMM, page table, window.")
Show("heap", show_heap, "[--blocks]", "Regions of the heap; --blocks lists what is in them.")
printer_of.__name__ = "libmm"
gdb.pretty_printers.insert(0, printer_of)
