"""Downloads from a real HTTP server on loopback: whole, or nothing that a later run could trust."""

import hashlib
import io
import shutil
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from gvstudy import Run, data, downloads, load_images, study
from gvstudy.cli import main


def png(seed, side=8):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def packed(kind, members):
    file = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(fileobj=file, mode="w") as archive:
            for name, content in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


GOOD = {f"top/Tiny/HR/{i}.png": png(i) for i in range(3)} | {
    "top/Tiny/LR/0.png": png(9),
    "top/readme.txt": b"hello",
}


class Server:
    """Serves `content`; can break off in the middle or answer 404."""

    def __init__(self):
        self.content, self.broken, self.requests = b"", False, 0
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                told.requests += 1
                if self.path.startswith("/missing"):
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(told.content)))
                self.end_headers()
                half = len(told.content) // 2 if told.broken else None
                self.wfile.write(told.content[:half])

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def url(self, file):
        return f"http://127.0.0.1:{self.http.server_port}/{file}"


@pytest.fixture
def server():
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()


@pytest.fixture
def tiny(server, tmp_path, monkeypatch):
    """A set `Tiny` of three pictures in an archive on the server; downloads go to `tmp_path`."""
    monkeypatch.delenv("GVSTUDY_DATA", raising=False)
    for module in (data, downloads):
        monkeypatch.setattr(module, "downloads_folder", lambda: tmp_path / "downloads")
    entry = {"what": "tiny", "role": "test", "terms": "", "folders": ["Tiny"], "count": 3}
    entry |= {"archive": "tiny", "inside": "top/Tiny/HR"}
    monkeypatch.setitem(data.registry(), "Tiny", entry)

    def serve(content, file="tiny.zip", checksum=None):
        server.content = content
        checksum = checksum or f"sha256:{hashlib.sha256(content).hexdigest()}"
        archive = {"url": server.url(file), "checksum": checksum}
        monkeypatch.setitem(data.archives(), "tiny", archive)

    return serve


def left_behind(tmp_path):
    """Everything under downloads but a finished archive."""
    found = (tmp_path / "downloads").rglob("*")
    return {path.name for path in found if path.is_file() and path.parent.name != "archives"}


def fails(tmp_path, message):
    with pytest.raises(ValueError, match=message) as caught:
        downloads.fetch("Tiny", progress=False)
    assert "by hand: put its 3 pictures into" in str(caught.value)
    assert not (tmp_path / "downloads" / "Tiny").exists()
    assert not left_behind(tmp_path)
    with pytest.raises(ValueError, match="Tiny is not here"):
        load_images("Tiny")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_whole_download(kind, tiny, server, tmp_path):
    tiny(packed(kind, GOOD), f"tiny.{kind}")
    folder = downloads.fetch("Tiny", progress=False)
    assert folder == tmp_path / "downloads" / "Tiny"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        f"{i}.png": png(i) for i in range(3)
    }
    assert list(load_images("Tiny")) == ["0", "1", "2"]
    assert downloads.fetch("Tiny", progress=False) == folder
    assert server.requests == 1


def test_the_archive_is_asked_for_once(tiny, server, tmp_path):
    tiny(packed("zip", GOOD))
    shutil.rmtree(downloads.fetch("Tiny", progress=False))
    downloads.fetch("Tiny", progress=False)
    assert server.requests == 1


def test_cut_off_in_the_middle_then_whole(tiny, server, tmp_path):
    tiny(packed("zip", GOOD))
    server.broken = True
    fails(tmp_path, "Tiny from http")
    assert not list((tmp_path / "downloads" / "archives").iterdir())
    server.broken = False
    assert downloads.fetch("Tiny", progress=False).is_dir()


def test_a_wrong_checksum(tiny, tmp_path):
    tiny(packed("zip", GOOD), checksum="md5:" + "0" * 32)
    fails(tmp_path, "hash")
    assert not list((tmp_path / "downloads" / "archives").iterdir())


def test_not_found(tiny, tmp_path):
    tiny(packed("zip", GOOD), "missing.zip")
    fails(tmp_path, "404")


def test_no_network(tiny, server, tmp_path):
    tiny(packed("zip", GOOD))
    server.http.server_close()
    server.http.shutdown()
    fails(tmp_path, "Tiny from http")


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(
    "evil", ["../../evil.png", "top/Tiny/HR/../../../../evil.png", "/evil.png"]
)
def test_a_path_that_climbs_out(kind, evil, tiny, tmp_path):
    tiny(packed(kind, GOOD | {evil: png(7)}), f"tiny.{kind}")
    fails(tmp_path, "climbs out")
    assert not list(tmp_path.rglob("evil.png"))


def test_links_are_not_followed(tiny, tmp_path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        link = tarfile.TarInfo("top/Tiny/HR/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    tiny(file.getvalue(), "tiny.tar")
    fails(tmp_path, "0 pictures in top/Tiny/HR, expected 3")


def test_an_archive_without_the_whole_set(tiny, tmp_path):
    tiny(packed("zip", {"top/Tiny/HR/0.png": png(0)}))
    fails(tmp_path, "holds 1 pictures in top/Tiny/HR, expected 3")


def test_an_archive_that_is_none(tiny, tmp_path):
    tiny(b"no archive at all")
    fails(tmp_path, "Tiny from http")


def test_a_full_disk(tiny, tmp_path, monkeypatch):
    tiny(packed("zip", GOOD))

    def full(source, target):
        target.write(source.read(10))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    fails(tmp_path, "No space left on device")
    monkeypatch.undo()


def test_an_interruption_leaves_nothing(tiny, tmp_path, monkeypatch):
    tiny(packed("zip", GOOD))

    def interrupted(source, target):
        target.write(source.read(10))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", interrupted)
        with pytest.raises(KeyboardInterrupt):
            downloads.fetch("Tiny", progress=False)
    assert not left_behind(tmp_path)
    assert len(list(downloads.fetch("Tiny", progress=False).iterdir())) == 3


def test_div2k_is_measured_as_soon_as_it_is_there(server, tmp_path, store, monkeypatch):
    """Its archive's layout, with three small pictures, through fetching to rows by image."""
    monkeypatch.delenv("GVSTUDY_DATA", raising=False)
    for module in (data, downloads):
        monkeypatch.setattr(module, "downloads_folder", lambda: tmp_path / "downloads")
    names = ["0801", "0802", "0803"]
    server.content = packed("zip", {f"DIV2K_valid_HR/{n}.png": png(int(n), 32) for n in names})
    checksum = f"sha256:{hashlib.sha256(server.content).hexdigest()}"
    archive = {"url": server.url("DIV2K_valid_HR.zip"), "checksum": checksum}
    monkeypatch.setitem(data.archives(), "DIV2K_valid_HR", archive)
    monkeypatch.setitem(data.registry()["DIV2K-valid"], "count", 3)
    run = Run(model="espcn", steps=3, batch_size=2, crop_size=24)
    with pytest.raises(ValueError, match="DIV2K_valid_HR is not here"):
        study.results([run], ["DIV2K-valid"], progress=False)
    assert not store.exists()
    downloads.fetch("DIV2K-valid", progress=False)
    rows = study.results([run], ["DIV2K-valid"], progress=False)
    assert rows["image"].to_list() == names
    assert rows["psnr_rgb"].between(0, 30).all()


def test_sets_without_a_server(tmp_path, monkeypatch):
    monkeypatch.delenv("GVSTUDY_DATA", raising=False)
    monkeypatch.setattr(data, "downloads_folder", lambda: tmp_path)
    with pytest.raises(ValueError, match=r"T91 has no server.*by hand: put its 91 pictures"):
        downloads.fetch("T91")
    with pytest.raises(ValueError, match=r"put its pictures into .*BSDS500/train and .*BSDS500/te"):
        downloads.fetch("BSDS500")
    monkeypatch.setattr(downloads, "_download", lambda url, *_: (_ for _ in ()).throw(OSError(url)))
    for name, source in (("Urban100-first20", "Urban100"), ("DIV2K_valid_centre256", "DIV2K-val")):
        with pytest.raises(ValueError, match=f"^{source}.* from https"):
            downloads.fetch(name)
    with pytest.raises(ValueError, match="needs no download"):
        downloads.fetch("builtin-train")
    with pytest.raises(ValueError, match="'Set6'; known"):
        downloads.fetch("Set6")


def test_the_command(tiny, tmp_path):
    tiny(packed("zip", GOOD))
    result = CliRunner().invoke(main, ["data", "fetch", "Tiny"])
    assert result.exit_code == 0, result.output
    tiny(packed("zip", GOOD), "missing.zip")
    shutil.rmtree(tmp_path / "downloads")
    result = CliRunner().invoke(main, ["data", "fetch", "Tiny"])
    assert result.exit_code == 2
    assert "404" in result.output
    assert "Traceback" not in result.output
