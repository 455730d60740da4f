"""A client of a notebook's kernel that evaluates expressions, and records every error that the kernel reports."""

from __future__ import annotations

import ast
import json
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from queue import Empty
from typing import Any

from recompviz.benchmarks.explorer.page import Lab


class Kernel:
    """A connection to the kernel of the only open notebook."""

    def __init__(self, lab: Lab) -> None:
        from jupyter_client.blocking.client import BlockingKernelClient

        self.lab = lab
        kernels = self._rest("api/kernels")
        self.id: str = kernels[0]["id"]
        self._problems: list[dict[str, Any]] = []
        self._ended = threading.Event()
        path = str(lab.folder / "runtime" / f"kernel-{self.id}.json")

        def connected() -> Any:
            client = BlockingKernelClient(connection_file=path)
            client.load_connection_file()
            client.start_channels(hb=False)
            return client

        self._pool = ThreadPoolExecutor(1)
        self._client = self._pool.submit(connected).result()
        self._listener = threading.Thread(target=self._listen, args=(connected,), daemon=True)
        self._listener.start()

    def ask(self, expression: str, seconds: float = 120) -> str:
        """Return the value of an expression in the notebook's namespace, as text.

        Raises
        ------
        RuntimeError
            If the expression raises an error, if no answer comes within ``seconds``, or after 20 interrupted answers.
        """
        for _ in range(20):
            found = self._pool.submit(self._ask, expression, seconds).result()
            if found is not None:
                return found
            time.sleep(0.1)
        raise RuntimeError(f"every answer to {expression!r} was interrupted")

    def _ask(self, expression: str, seconds: float) -> str | None:
        asked = self._client.execute("", silent=True, store_history=False, user_expressions={"x": expression})
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                reply = self._client.get_shell_msg(timeout=1)
            except Empty:
                continue
            if reply["parent_header"].get("msg_id") != asked:
                continue
            answer = reply["content"].get("user_expressions", {}).get("x", {})
            if answer.get("status") == "ok":
                return str(ast.literal_eval(answer["data"]["text/plain"]))
            if reply["content"]["status"] == "aborted" or "KeyboardInterrupt" in json.dumps(reply["content"]):
                return None
            raise RuntimeError(f"{expression!r} failed: {json.dumps(reply['content'])[:800]}")
        raise RuntimeError(f"the kernel did not answer {expression!r} within {seconds} s")

    def run(self, code: str) -> None:
        """Run code in the kernel as a cell would, without waiting for it."""
        self._pool.submit(self._client.execute, code, silent=False, store_history=False).result()

    def interrupt(self) -> None:
        """Interrupt the kernel, as the button of the notebook does."""
        self._rest(f"api/kernels/{self.id}/interrupt", "POST")

    def problems(self) -> list[dict[str, Any]]:
        """Return the errors other than interrupts, and the texts on stderr, since the last call."""
        found, self._problems = self._problems, []
        return found

    def stop(self) -> None:
        """Close the connection."""
        self._ended.set()
        self._listener.join(5)
        self._pool.submit(self._client.stop_channels).result()
        self._pool.shutdown()

    def _listen(self, connected: Any) -> None:
        client = connected()
        while not self._ended.is_set():
            try:
                message = client.get_iopub_msg(timeout=0.5)
            except Empty:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "error" and content["ename"] != "KeyboardInterrupt":
                self._problems.append({"error": content["ename"], "text": "\n".join(content["traceback"])[-1500:]})
            elif kind == "stream" and content["name"] == "stderr":
                self._problems.append({"stderr": content["text"][-1500:]})
        client.stop_channels()

    def _rest(self, path: str, method: str = "GET") -> Any:
        head = {"Authorization": f"token {self.lab.token}"}
        request = urllib.request.Request(self.lab.address(path), headers=head, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None
