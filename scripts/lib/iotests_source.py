"""QEMU's tests of its image tools, from Debian's source package: fetched and brought to the packaged version's level."""
import pathlib, re, shutil, subprocess, tarfile

DEBIAN = "bookworm"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PARTS = ("tests/qemu-iotests/", "python/")

# The tests that call no other program than the four tools.
TOOLS = """
001 002 003 004 005 008 009 010 011 012 013 014 015 017 018 019 020 021 022 023 024 025 026 027 029 031 032 033 034 035
036 037 038 039 042 043 044 046 047 048 049 050 052 053 054 058 061 062 063 066 069 072 073 074 077 079 080 082 083
086 089 090 097 098 101 103 104 105 106 107 110 111 112 113 114 115 121 122 123 125 126 128 133 134 137 138 150 154 158
159 160 162 163 170 171 174 177 178 179 187 188 189 190 197 198 204 209 214 215 217 220 221 226 231 233 241 243 250 251
252 253 259 261 263 265 268 270 271 272 277 279 284 287 289 290 292 293 302 303 305 313
block-status-cache nbd-qemu-allocation nbd-reconnect-on-open qemu-img-bitmaps
""".split()


def fetch(folder):
    """The folder with the tests and the Python packages beside them; what is there already is not fetched again."""
    tree = folder / "qemu"
    if (folder / "complete").exists():
        return tree
    shutil.rmtree(folder, ignore_errors=True)
    for each in ("lists/partial", "cache/archives/partial", "package"):
        (folder / each).mkdir(parents=True)
    download(folder)
    original, = (folder / "package").glob("qemu_*.orig.tar.*")
    debian, = (folder / "package").glob("qemu_*.debian.tar.*")
    with tarfile.open(original) as archive:
        for member in archive:
            top, _, member.name = member.name.partition("/")
            if member.name.startswith(PARTS):
                archive.extract(member, tree)
    with tarfile.open(debian) as archive:
        series = archive.extractfile("debian/patches/series").read().decode().split("\n")
        for name in series:
            # The differences between releases; the others are Debian's own.
            if re.fullmatch(r"v\d+\.\d+\.\d+\.diff", name):
                patch(tree, archive.extractfile(f"debian/patches/{name}").read())
    (folder / "complete").touch()
    return tree


def download(folder):
    """With lists of its own, so that the system's choice of sources stays what it is."""
    sources = [f"deb-src [signed-by={KEYRING}] http://deb.debian.org/{archive} {suite} main\n"
               for archive, suite in (("debian", DEBIAN), ("debian-security", f"{DEBIAN}-security"))]
    (folder / "sources.list").write_text("".join(sources))
    settings = [f"Dir::Etc::sourcelist={folder}/sources.list", "Dir::Etc::sourceparts=-", "APT::Sandbox::User=root",
                f"Dir::State::lists={folder}/lists", f"Dir::Cache={folder}/cache"]
    apt = ["apt-get", "-qq"] + [word for each in settings for word in ("-o", each)]
    subprocess.run(apt + ["update"], check=True)
    subprocess.run(apt + ["source", "--download-only", "qemu"], cwd=folder / "package", check=True)


def patch(tree, difference):
    """Applies those parts of a difference that are about the tests."""
    for part in re.split(rb"(?m)^(?=diff --git )", difference)[1:]:
        name = part.split(b"\n", 1)[0].split()[-1].decode().removeprefix("b/")
        if name.startswith(PARTS):
            subprocess.run(["patch", "-s", "-p1"], input=part, cwd=tree, check=True)
            if b"\nnew file mode 100755" in part:
                (tree / name).chmod(0o755)
