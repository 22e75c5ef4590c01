"""One recorded line of speech and what is said in it; and a corpus of them.

Owns the types that corpora yield and the preparation consumes, and the rule that says which
utterances are held out. Knows nothing of any one corpus or file format.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

HELDOUT_ONE_IN = 10


@dataclass(frozen=True, slots=True)
class Utterance:
    """A clip with its text.

    `clip` identifies it within the corpus. `dialogue` is the file that its text comes from; `group`
    is what is held out as a whole (all dialogues with one character, all parts of one scene);
    `voice` is who speaks. `audio` is an encoded file (MP3, WAV ...), not samples.
    """

    clip: str
    dialogue: str
    group: str
    voice: str
    text: str
    audio: bytes

    @property
    def heldout(self) -> bool:
        """Whether the group is held out.

        Decided by a hash of the group's name alone, so that neither a limit on the number of
        utterances nor the order in which they come can move one across.
        """
        digest = hashlib.sha256(self.group.encode()).digest()
        return int.from_bytes(digest[:8]) % HELDOUT_ONE_IN == 0


@dataclass(frozen=True, slots=True)
class Corpus:
    """Utterances in a fixed order, and what is known about them as a whole.

    `sha256` is that of the file that they come from, or of the sound itself if there is none;
    `synthetic` is true for speech that no person spoke. Recordings that are not utterances have no
    text or no words (`unmatched`), or repeat an earlier one byte for byte (`repeated`).
    """

    name: str
    sha256: str
    synthetic: bool
    utterances: tuple[Utterance, ...]
    unmatched: int = 0
    repeated: int = 0
