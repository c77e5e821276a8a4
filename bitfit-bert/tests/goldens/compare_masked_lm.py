"""The perplexity and accuracy of masked tokens that transformers computes on the masks of bitfit's evaluations.

    python compare_masked_lm.py MODEL TEXTS [--max-length N] [--mask-probability P] [--whole-word]

MODEL is a model directory with a head for masked language modelling, such as `--save-base` of `bitfit-cli finetune --kind mlm`
writes, and TEXTS has a text a line. The figures are to be those that `finetune` and `eval` print for the same model and texts.
The masks are drawn again here, from a Philox generator of its own, as `heads/masking.rs` says: a token is chosen with probability
P, or else one of the sequence; of those chosen 80 % become the mask, 10 % another token, 10 % stay. Needs torch and transformers.
"""

import argparse
import math

import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

WORD = 0xFFFFFFFF
MASKING_STREAM = 1 << 31  # epoch 0 of it is that of evaluations, whose seed is 0


class Random:
    """Philox 4x32-10, the part of a stream that belongs to one sequence."""

    def __init__(self, stream, part):
        self.stream, self.block, self.left = stream, part << 32, []

    def bits(self):
        if not self.left:
            counter, keys = [self.block & WORD, self.block >> 32, self.stream, WORD], (0, 0)
            for _ in range(10):
                first, second = counter[0] * 0xD2511F53, counter[2] * 0xCD9E8D57
                counter = [
                    (second >> 32) ^ counter[1] ^ keys[0], second & WORD, (first >> 32) ^ counter[3] ^ keys[1], first & WORD
                ]
                keys = (keys[0] + 0x9E3779B9) & WORD, (keys[1] + 0xBB67AE85) & WORD
            self.left, self.block = counter, self.block + 1
        return self.left.pop(0)

    def below(self, bound):
        while True:
            product = self.bits() * bound
            if product & WORD >= (-bound & WORD) % bound:
                return product >> 32

    def uniform(self):
        return (self.bits() + 0.5) / 2**32


def sequences(tokenizer, text, room):
    """The tokens of a text in pieces of at most `room`, none of which ends inside a word that would fit, and their words."""
    encoding = tokenizer(text, add_special_tokens=False)
    ids, words = encoding["input_ids"], encoding.word_ids()
    first = 0
    while first < len(ids):
        end = min(len(ids), first + room)
        back = end
        while end < len(ids) and back > first and words[back - 1] == words[end]:
            back -= 1
        end = back if back > first else end
        yield ids[first:end], words[first:end]
        first = end


def masked(ids, words, number, tokenizer, ordinary, arguments):
    """The ids of a sequence with masks, and the places of what was chosen."""
    random = Random(MASKING_STREAM, number)
    special = set(tokenizer.all_special_ids)
    groups = []
    for place in (place for place, id in enumerate(ids) if id not in special):
        if arguments.whole_word and groups and words[groups[-1][-1]] == words[place]:
            groups[-1].append(place)
        else:
            groups.append([place])
    if not groups:
        return ids, []
    chosen = [group for group in groups if random.uniform() < arguments.mask_probability]
    ids, places = list(ids), [place for group in chosen or [groups[random.below(len(groups))]] for place in group]
    for place in places:
        draw = random.uniform()
        if draw < 0.8:
            ids[place] = tokenizer.mask_token_id
        elif draw < 0.9:
            ids[place] = ordinary[random.below(len(ordinary))]
    return ids, places


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("texts")
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--mask-probability", type=float, default=0.15)
    parser.add_argument("--whole-word", action="store_true")
    arguments = parser.parse_args()
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(arguments.model).eval(), AutoTokenizer.from_pretrained(arguments.model)
    ordinary = sorted(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids))
    frame = tokenizer("")["input_ids"]  # the special tokens around a text, of which half are before it
    before = len(frame) // 2
    loss = right = count = number = 0
    with open(arguments.texts, encoding="utf-8") as file:
        texts = [line.rstrip("\n") for line in file]
    for text in texts:
        for piece, words in sequences(tokenizer, text, arguments.max_length - len(frame)):
            hidden, places = masked(piece, words, number, tokenizer, ordinary, arguments)
            if not places:
                continue
            number += 1
            with torch.inference_mode():
                logits = model(torch.tensor([frame[:before] + hidden + frame[before:]])).logits[0].double()
            logits, expected = logits[[before + place for place in places]], torch.tensor([piece[place] for place in places])
            loss += float(torch.nn.functional.cross_entropy(logits, expected, reduction="sum"))
            right += int((logits.argmax(1) == expected).sum())
            count += len(places)
    print(f"{number} sequences, {count} tokens chosen: perplexity {math.exp(loss / count):.6f}, accuracy {right / count:.6f}")


if __name__ == "__main__":
    main()
