# SPDX-License-Identifier: MIT
"""A manual page that is held against the sources."""
import os
import re
import sys

SRCDIR = os.environ.get("srcdir", ".")


def read(path):
    with open(os.path.join(SRCDIR, path), encoding="utf-8") as file:
        return file.read()


def items(text, macro):
    return set(re.findall(rf"^\.It {macro} (\S+)", text, re.MULTILINE))


def code(text):
    """The literal blocks of a text that are not indented: parts of scripts."""
    blocks = re.findall(r"^\.Bd -literal\n(.*?)^\.Ed$", text, re.MULTILINE | re.DOTALL)
    return [block.replace(r"\e", "\\") for block in blocks]


class Manual:
    def __init__(self, path):
        self.path = path
        self.text = read(path)
        self.complaints = []
        self.counted = []

    def section(self, title, level="Sh"):
        """The text of a section, up to the next one of its level or above."""
        end = r"^\.S[hs] " if level == "Ss" else r"^\.Sh "
        found = re.search(rf"^\.{level} {re.escape(title)}\n(.*?)(?={end}|\Z)", self.text, re.MULTILINE | re.DOTALL)
        if not found:
            sys.exit(f"{self.path}: the section {title} is missing")
        return found[1]

    def complain(self, text):
        self.complaints.append(f"{self.path}: {text}")

    def compare(self, what, used, described):
        used, described = set(used), set(described)
        if not used:
            self.complaints.append(f"no {what} was found in the sources")
        for name in sorted(used - described):
            self.complain(f"the {what} {name} is missing")
        for name in sorted(described - used):
            self.complain(f"there is no {what} {name}")
        self.counted.append(f"{what}: {len(used)}")

    def finish(self):
        print("\n".join(self.complaints or self.counted))
        sys.exit(1 if self.complaints else 0)
