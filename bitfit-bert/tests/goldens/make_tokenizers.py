#!/usr/bin/env python3
"""Small tokenizers in every form of files that is read, with the ids that transformers gives to odd texts.

    python make_tokenizers.py        writes tokenizers.json beside this script (transformers 5.24.0, tokenizers 0.23.3)

Everything is made here: the texts, the vocabularies that are trained on them, and the files. The trainers break ties at
random, so another run writes other vocabularies, with ids that are as right. A directory is a list of names with the
keys of their contents, because many directories have the same vocabulary. `tests/tokenizers.rs` writes each directory
out, opens it and compares.
"""

import base64
import copy
import hashlib
import json
import os
import struct
import sys
import tempfile

sys.path = [path for path in sys.path if os.path.realpath(path or ".") != os.path.dirname(os.path.realpath(__file__))]
os.environ["HF_HUB_OFFLINE"] = "1"

import tokenizers  # noqa: E402
import transformers  # noqa: E402
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

transformers.logging.set_verbosity_error()

CORPUS = """
The quick brown fox jumps over the lazy dog. The dog was not amused, and neither was the fox.
A tokenizer splits a text into pieces; the pieces are looked up in a vocabulary, and a number comes out for each.
It isn't clear whether they're unhappy, or whether they'd rather be unable to say so: we'll see what's what.
Running, runner, runs, ran; walking, walker, walks, walked; talking, talker, talks, talked. 1984, 2001, 42 and 3.14159.
Größe, Straße, Äpfel und Öl; café, naïve, déjà vu, façade; señor, mañana; čeština, žluťoučký kůň.
Привет, мир! Как дела? Γειά σου Κόσμε. שלום עולם. مرحبا بالعالم. नमस्ते दुनिया. สวัสดีชาวโลก.
你好，世界。我喜欢读书。日本語のテキストです。東京は大きい。안녕하세요 세계.
Emails like someone@example.com, paths like /usr/local/bin, and code such as x = y + z * (a - b) occur as well.
""".strip().split("\n")

TEXTS = [
    "",
    " ",
    "   ",
    "\t",
    "\n",
    "\r\n",
    "a",
    "A",
    ".",
    "The quick brown fox.",
    " leading and trailing ",
    "two  spaces   three",
    "tabs\tand\nlines\r\nand\u2028separators\u2029and\u0085next",
    "NUL\0inside",
    "\0",
    "\x01\x02\x1b[0m\x7f",
    "\ufeffThe byte order mark",
    "zero\u200bwidth\u200d joiner\u2060 soft\u00adhyphen",
    "nbsp\u00a0here\u3000ideographic",
    "\ufffd",
    "cafe\u0301 CAF\u00c9 caf\u00e9",
    "\u0301\u0301",
    "a\u0327\u0301 a\u0301\u0327",
    "\u0130stanbul \u0131 \u1e9e \u00df \ufb01ne \u01c5",
    "\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2 \u03a3",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002mixed\u4e2dtext",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8",
    "\U00020000\U0002a6d6",
    "\uf900 compatibility",
    "\uac01 \u1100\u1161\u11a8 \uc548\ub155",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645",
    "\u202eright to left\u202c",
    "\u0928\u092e\u0938\u094d\u0924\u0947",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\U0001f642",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family",
    "\U0001f44d\U0001f3fd \U0001f1e9\U0001f1ea \u2764\ufe0f",
    "\U0001d54f \U0001d7d8 \U0010ffff",
    "\ud7ff\ue000 \\ud800",
    "[CLS] [SEP] [MASK] [PAD] [UNK]",
    "[cls]a[MASK]b[mask]",
    "<s> </s> <mask> <pad> <unk>",
    "a <mask>b<mask> <MASK>",
    "<cls> <sep> <s>NOTUSED </s>NOTUSED",
    "a [MASK]  [MASK] b",
    "<ent>walker</ent> <ENT> <ent >",
    "x<ent>y<new> a<new>",
    "##ing ## \u2581the \u0120the Gthe",
    "``quoted'' text and \"text\"",
    "isn't they're we'll I'D",
    "x" * 100,
    "x" * 101,
    "walk" * 40,
    "!" * 20,
    "a b " * 12,
    "1984 3.14159 1,000,000",
    "someone@example.com /usr/local/bin",
    "UPPER lower MiXeD cAsE",
    "\u2460 \u00bd \u00b2 \u212b \u2126",
    "~^`$+|<=>",
]
CORE = [
    "",
    " leading and trailing ",
    "The quick brown fox isn't unhappy.",
    "CAF\u00c9 cafe\u0301 na\u00efve \u00df",
    "\u4f60\u597d mixed\u4e2dtext",
    "a <mask>b [MASK] c",
    "<ent>walker</ent> <ENT> x<new>",
    "[CLS] <s> </s> [SEP] <cls>",
    "two  spaces\tand\nlines ",
    "\U0001f642 x\0y",
    "\u3000\ufb01ne \u2460",
]
PAIRS = [
    ("", ""),
    ("a", ""),
    ("", "b"),
    ("The quick brown fox", "jumps over the lazy dog."),
    ("a b c d e f g h i j", "x"),
    ("x", "a b c d e f g h i j"),
    ("walk walk walk walk walk", "talk talk talk talk talk talk"),
    ("\u4f60\u597d\u4e16\u754c", "caf\u00e9 <mask> [MASK]"),
    (" spaces ", " around\n"),
]
LENGTHS = [6, 7, 11, 64]

BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def word_pieces(specials, size=320, lower=True):
    tokenizer = Tokenizer(models.WordPiece(unk_token=specials[1]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=specials, limit_alphabet=220, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    vocab = tokenizer.get_vocab()
    return sorted(vocab, key=vocab.get)


def byte_pairs(specials, size=350):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [" ".join(merge) if isinstance(merge, list) else merge for merge in model["merges"]]


def pieces():
    """Unigram's pieces with their scores, without special ones."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    trainer = trainers.UnigramTrainer(
        vocab_size=240, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    vocab = json.loads(tokenizer.to_str())["model"]["vocab"]
    return [[piece, round(score, 3)] for piece, score in vocab if piece != "<unk>"]


def charsmap(texts):
    """SentencePiece's map of characters, one block of 256 units a node."""
    nodes, blob, places = [{}], b"", {}
    for source, target in texts.items():
        node = 0
        for byte in source.encode():
            if byte not in nodes[node]:
                nodes.append({})
                nodes[node][byte] = len(nodes) - 1
            node = nodes[node][byte]
        places[node] = len(blob)
        blob += target.encode() + b"\0"
    units = [0] * (256 * (len(nodes) + 1))

    def base(node):
        return 256 * (node + 1)

    units[0] = base(0) << 10
    for node, children in enumerate(nodes):
        for byte, child in children.items():
            at = base(node) ^ byte
            leaf = child in places
            units[at] = byte | (leaf << 8) | ((at ^ base(child)) << 10)
            if leaf:
                units[base(child)] = 0x80000000 | places[child]
    trie = struct.pack(f"<{len(units)}I", *units)
    return base64.b64encode(struct.pack("<I", len(trie)) + trie + blob).decode()


def added(tokens, **flags):
    return [
        {
            "id": id,
            "content": content,
            "single_word": False,
            "lstrip": flags.get("lstrip") == content,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for content, id in tokens
    ]


def tokenizer_json(model, normalizer=None, pre_tokenizer=None, post_processor=None, added_tokens=(), truncation=None):
    return {
        "version": "1.0",
        "truncation": truncation,
        "padding": None,
        "added_tokens": list(added_tokens),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor,
        "decoder": None,
        "model": model,
    }


def part(value):
    """A part of the tokenizers library as JSON."""
    return json.loads(value.__getstate__().decode())


def template(first, last, first_id, last_id, types=(0, 1), twice=False):
    special, text = (lambda id, type: {"SpecialToken": {"id": id, "type_id": type}}), (
        lambda id, type: {"Sequence": {"id": id, "type_id": type}}
    )
    one, two = types
    single = [special(first, one), text("A", one), special(last, one)]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": single + [special(last, two)] * twice + [text("B", two), special(last, two)],
        "special_tokens": {
            name: {"id": name, "ids": [id], "tokens": [name]} for name, id in ((first, first_id), (last, last_id))
        },
    }


def lines(tokens):
    return "".join(token + "\n" for token in tokens)


def directories():
    """The names of directories with their files: texts, or what becomes JSON."""
    bert = {"model_type": "bert"}
    words = word_pieces(BERT)
    vocab = {token: id for id, token in enumerate(words)}
    cased = word_pieces(BERT, lower=False)
    new = {"<ent>": len(words), "</ent>": len(words) + 1, "<new>": len(words) + 2}

    def of_class(name, **settings):
        return {"tokenizer_class": name, **settings}

    yield "bert", {"vocab.txt": lines(words), "config.json": bert}
    yield "bert cased", {
        "vocab.txt": lines(cased),
        "config.json": bert,
        "tokenizer_config.json": of_class("BertTokenizerFast", do_lower_case=False),
    }
    for name, settings in {
        "accents kept": {"strip_accents": False},
        "chinese whole": {"tokenize_chinese_chars": False},
        "split specials": {"split_special_tokens": True},
        "cut left": {"truncation_side": "left"},
    }.items():
        yield f"bert {name}", {"vocab.txt": lines(words), "config.json": bert, "tokenizer_config.json": settings}
    for name in [
        "DistilBertTokenizerFast",
        "ElectraTokenizer",
        "MobileBertTokenizer",
        "LxmertTokenizerFast",
        "SqueezeBertTokenizer",
        "LayoutLMTokenizer",
        "ConvBertTokenizer",
    ]:
        yield f"core {name}", {
            "vocab.txt": lines(words),
            "config.json": bert,
            "tokenizer_config.json": of_class(name, do_lower_case=False),
        }
    for name in [
        "electra",
        "distilbert",
        "convbert",
        "lxmert",
        "mobilebert",
        "squeezebert",
        "layoutlm",
        "ernie",
        "megatron-bert",
    ]:
        yield f"core model type {name}", {"vocab.txt": lines(words), "config.json": {"model_type": name}}
    yield "core class of the configuration", {
        "vocab.txt": lines(words),
        "config.json": {"model_type": "roberta", "tokenizer_class": "BertTokenizerFast"},
    }

    # Added and special tokens, in the files of several years.
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
    decoder = {str(id): {"content": token, **flags} for token, id in new.items()}
    yield "bert added_tokens.json", {"vocab.txt": lines(words), "config.json": bert, "added_tokens.json": new}
    yield "core added special", {
        "vocab.txt": lines(words),
        "config.json": bert,
        "added_tokens.json": new,
        "special_tokens_map.json": {"additional_special_tokens": ["<ent>", "walk"]},
        "tokenizer_config.json": {"additional_special_tokens": ["</ent>"]},
    }
    yield "core special map", {
        "vocab.txt": lines(words),
        "config.json": bert,
        "added_tokens.json": new,
        "special_tokens_map.json": {
            "additional_special_tokens": ["<ent>", "walk"],
            "unk_token": "[UNK]",
            "pad_token": None,
            "mask_token": {"content": "[MASK]", **flags, "lstrip": True},
        },
    }
    yield "core added_tokens_decoder", {
        "vocab.txt": lines(words),
        "config.json": bert,
        "tokenizer_config.json": {"added_tokens_decoder": decoder},
        "added_tokens.json": {"walk": 5},
        "special_tokens_map.json": {"mask_token": "walk"},
    }
    yield "core extra tokens", {
        "vocab.txt": lines(words),
        "config.json": bert,
        "tokenizer_config.json": {
            "extra_special_tokens": ["the", {"__type": "AddedToken", "content": "fox", **flags}],
            "image_token": "walk",
        },
    }
    yield "core named and listed extra tokens", {
        "vocab.txt": lines(words),
        "config.json": bert,
        "tokenizer_config.json": {
            "extra_special_tokens": {"image_token": "walk"},
            "additional_special_tokens": ["the"],
            "image_token": "fox",
        },
    }
    yield "core named extra tokens", {
        "vocab.txt": lines(words),
        "config.json": bert,
        "tokenizer_config.json": {"extra_special_tokens": {"image_token": "walk"}},
    }
    yield "core flagged mask", {
        "vocab.txt": lines(words),
        "config.json": bert,
        "tokenizer_config.json": {
            "mask_token": {"__type": "AddedToken", "content": "[MASK]", **flags, "lstrip": True},
            "pad_token": None,
        },
    }
    yield "core missing mask", {
        "vocab.txt": lines(token for token in words if token != "[MASK]"),
        "config.json": bert,
    }
    yield "core other names", {
        "vocab.txt": lines(["<x>" if token == "[CLS]" else token for token in words]),
        "config.json": bert,
        "tokenizer_config.json": {"cls_token": "<x>"},
    }
    yield "core odd lines", {
        "vocab.txt": "\r\n".join(token + "  " if token == "the" else token for token in words) + "\r\nwalk",
        "config.json": bert,
    }

    # A tokenizer.json under the class that made it, and under the one that goes by the file.
    model = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": vocab,
    }
    specials = added([(token, vocab[token]) for token in BERT])
    normal = part(normalizers.BertNormalizer(lowercase=True))
    bert_pre, frame = part(pre_tokenizers.BertPreTokenizer()), template("[CLS]", "[SEP]", 2, 3)
    bert_frame = part(processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)))
    roberta_frame = part(processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2)))
    byte_frame = part(processors.ByteLevel())
    saved = tokenizer_json(model, normal, bert_pre, frame, specials)
    untyped = copy.deepcopy(saved)
    del untyped["model"]["type"]
    yield "bert tokenizer.json", {
        "tokenizer.json": saved,
        "config.json": bert,
        "tokenizer_config.json": of_class("BertTokenizer"),
    }
    yield "core untyped model", {"tokenizer.json": untyped, "config.json": bert}
    for name, processor in {
        "none": None,
        "bert": bert_frame,
        "sequence": {"type": "Sequence", "processors": [frame]},
        "byte level": {"type": "Sequence", "processors": [byte_frame, bert_frame]},
    }.items():
        yield f"core frame {name}", {"tokenizer.json": {**saved, "post_processor": processor}, "config.json": bert}
        yield f"core file frame {name}", {
            "tokenizer.json": {**saved, "post_processor": processor},
            "config.json": bert,
            "tokenizer_config.json": of_class("PreTrainedTokenizerFast"),
        }
    yield "core file frame roberta", {
        "tokenizer.json": {**saved, "post_processor": roberta_frame},
        "config.json": bert,
        "tokenizer_config.json": of_class("TokenizersBackend", truncation_side="left"),
    }
    yield "core switches win", {
        "tokenizer.json": saved,
        "config.json": bert,
        "tokenizer_config.json": of_class(
            "BertTokenizer", do_lower_case=False, strip_accents=True, tokenize_chinese_chars=False
        ),
    }
    yield "core truncation", {
        "tokenizer.json": {
            **saved,
            "truncation": {"direction": "Left", "max_length": 5, "strategy": "LongestFirst", "stride": 0},
        },
        "config.json": bert,
    }
    with_new = specials + [{"id": id, "content": token, **flags} for token, id in new.items()]
    yield "core added in the file", {"tokenizer.json": {**saved, "added_tokens": with_new}, "config.json": bert}
    yield "core added in both", {
        "tokenizer.json": {**saved, "added_tokens": with_new},
        "config.json": bert,
        "tokenizer_config.json": {
            "added_tokens_decoder": {
                **{str(token.pop("id")): token for token in copy.deepcopy(specials)},
                **{key: {**value, "normalized": False, "special": True} for key, value in decoder.items()},
            }
        },
    }
    yield "core added to the file", {
        "tokenizer.json": saved,
        "config.json": bert,
        "added_tokens.json": new,
        "tokenizer_config.json": of_class("PreTrainedTokenizerFast", mask_token="walk", extra_special_tokens=["fox"]),
    }
    plain = {
        **saved,
        "normalizer": part(
            normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()])
        ),
        "pre_tokenizer": part(pre_tokenizers.Whitespace()),
    }
    yield "file of its own", {
        "tokenizer.json": plain,
        "config.json": bert,
        "tokenizer_config.json": of_class("PreTrainedTokenizer"),
    }
    yield "core no class, no type", {"tokenizer.json": plain, "config.json": {"vocab_size": 9}}
    yield "core modernbert", {
        "tokenizer.json": plain,
        "config.json": {"model_type": "modernbert"},
        "tokenizer_config.json": of_class("BertTokenizer"),
    }
    yield "core convbert's class", {
        "tokenizer.json": {**plain, "post_processor": None},
        "config.json": {"model_type": "convbert"},
        "tokenizer_config.json": of_class("ConvBertTokenizer"),
    }
    level = {
        "type": "WordLevel",
        "unk_token": "[UNK]",
        "vocab": {token: id for id, token in enumerate(BERT + ["the", "fox", "walk", ".", "a", "b"])},
    }
    yield "core words", {
        "tokenizer.json": tokenizer_json(
            level, part(normalizers.Lowercase()), part(pre_tokenizers.Whitespace()), frame, specials
        ),
        "config.json": bert,
        "tokenizer_config.json": of_class("PreTrainedTokenizerFast"),
    }

    # Other names around the same WordPiece.
    mpnet = ["<s>", "<pad>", "</s>", "[UNK]", *words[5:], "<mask>"]
    yield "mpnet", {"vocab.txt": lines(mpnet), "config.json": {"model_type": "mpnet"}}
    mpnet_model = {**model, "vocab": {token: id for id, token in enumerate(mpnet)}}
    mpnet_specials = added(
        [("<s>", 0), ("<pad>", 1), ("</s>", 2), ("[UNK]", 3), ("<mask>", len(mpnet) - 1)], lstrip="<mask>"
    )
    yield "core mpnet tokenizer.json", {
        "tokenizer.json": tokenizer_json(
            mpnet_model, normal, bert_pre, part(processors.RobertaProcessing(("</s>", 2), ("<s>", 0))), mpnet_specials
        ),
        "config.json": {"model_type": "mpnet"},
        "tokenizer_config.json": of_class("MPNetTokenizerFast", do_lower_case=False),
    }
    funnel = ["<pad>", "<unk>", "<cls>", "<sep>", "<mask>", "<s>", "</s>", *words[5:]]
    yield "core funnel", {
        "vocab.txt": lines(funnel),
        "config.json": {"model_type": "funnel"},
        "tokenizer_config.json": {"clean_text": False},
    }

    # BPE at the level of bytes.
    roberta = {"model_type": "roberta"}
    bytes_vocab, merges = byte_pairs(ROBERTA)
    files = {"vocab.json": bytes_vocab, "merges.txt": "#version: 0.2\n" + lines(merges)}
    more = {"<ent>": len(bytes_vocab), "</ent>": len(bytes_vocab) + 1}
    mask = {"content": "<mask>", **flags, "lstrip": True}
    yield "roberta", {**files, "config.json": roberta}
    yield "roberta prefix space", {
        **files,
        "config.json": roberta,
        "tokenizer_config.json": of_class("RobertaTokenizerFast", add_prefix_space=True),
    }
    for name in ["LongformerTokenizer", "BartTokenizerFast", "LEDTokenizer", "MvpTokenizer"]:
        yield f"core {name}", {**files, "config.json": bert, "tokenizer_config.json": of_class(name)}
    for name in ["longformer", "bart", "ibert", "data2vec-text", "roberta-prelayernorm", "lilt"]:
        yield f"core model type {name}", {**files, "config.json": {"model_type": name}}
    yield "core roberta special map", {
        **files,
        "config.json": roberta,
        "added_tokens.json": more,
        "special_tokens_map.json": {"mask_token": mask, "bos_token": {"content": "<s>", **flags}, "cls_token": "<s>"},
    }
    yield "core roberta one text with three names", {
        **files,
        "config.json": roberta,
        "special_tokens_map.json": {"pad_token": {"content": "<s>", **flags, "lstrip": True}},
    }
    yield "core roberta cut left", {
        **files,
        "config.json": roberta,
        "tokenizer_config.json": {"truncation_side": "left", "add_prefix_space": True},
    }
    other = copy.deepcopy(bytes_vocab)
    for old, name in zip(ROBERTA, ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]):
        other[name] = other.pop(old)
    yield "core deberta", {"vocab.json": other, "merges.txt": lines(merges), "config.json": {"model_type": "deberta"}}
    byte_model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": bytes_vocab,
        "merges": merges,
    }
    byte_specials = added([(token, bytes_vocab[token]) for token in ROBERTA], lstrip="<mask>")
    byte_pre, wrapped = part(pre_tokenizers.ByteLevel(add_prefix_space=False)), part(
        processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    )
    byte_json = tokenizer_json(byte_model, None, byte_pre, wrapped, byte_specials)
    yield "core roberta tokenizer.json", {
        "tokenizer.json": byte_json,
        "config.json": roberta,
        "tokenizer_config.json": {"add_prefix_space": True},
    }
    yield "core roberta file", {
        "tokenizer.json": byte_json,
        "config.json": roberta,
        "tokenizer_config.json": of_class("PreTrainedTokenizerFast", add_prefix_space=True),
    }
    sequence = {
        "type": "Sequence",
        "processors": [byte_frame, template("<s>", "</s>", 0, 2, types=(0, 0), twice=True)],
    }
    yield "core roberta template", {
        "tokenizer.json": {**byte_json, "post_processor": sequence},
        "config.json": roberta,
        **{"vocab.json": {}, "merges.txt": ""},
    }
    yield "core file of bytes", {
        "tokenizer.json": {
            **byte_json,
            "post_processor": {"type": "Sequence", "processors": [byte_frame, template("<s>", "</s>", 0, 2)]},
        },
        "config.json": roberta,
        "tokenizer_config.json": of_class("PreTrainedTokenizerFast"),
    }

    # SentencePiece's Unigram, which is read from a tokenizer.json.
    body, map = pieces(), charsmap({"\ufb01": "fi", "\t": " "})
    precompiled = {"type": "Precompiled", "precompiled_charsmap": map}
    metaspace = part(pre_tokenizers.Metaspace())
    split = part(pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]))

    def unigram(names, unknown):
        return {
            "type": "Unigram",
            "unk_id": unknown,
            "vocab": [[name, 0.0] for name in names] + body,
            "byte_fallback": False,
        }

    xlm_frame = template("<s>", "</s>", 0, 2, types=(0, 0), twice=True)
    xlm = tokenizer_json(
        unigram(ROBERTA, 3), precompiled, split, xlm_frame, added(list(zip(ROBERTA, range(5))), lstrip="<mask>")
    )
    xlm_config = {"model_type": "xlm-roberta"}
    yield "xlm-roberta", {"tokenizer.json": xlm, "config.json": xlm_config}
    later = {
        **xlm,
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                precompiled,
                part(normalizers.Strip(left=False, right=True)),
                part(normalizers.Replace(Regex(" {2,}"), "\u2581")),
            ],
        },
        "pre_tokenizer": metaspace,
    }
    yield "core xlm-roberta later", {
        "tokenizer.json": later,
        "config.json": xlm_config,
        "tokenizer_config.json": of_class("XLMRobertaTokenizerFast"),
        "sentencepiece.bpe.model": "x",
    }
    yield "core xlm-roberta no space", {
        "tokenizer.json": xlm,
        "config.json": xlm_config,
        "tokenizer_config.json": {"add_prefix_space": False},
    }
    yield "core xlm-roberta file", {
        "tokenizer.json": later,
        "config.json": xlm_config,
        "tokenizer_config.json": of_class("PreTrainedTokenizerFast"),
    }
    camembert = ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>", "<mask>"]
    few = [(token, camembert.index(token)) for token in ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]]
    camembert_json = tokenizer_json(
        unigram(camembert, 3), None, split, template("<s>", "</s>", 5, 6, types=(0, 0), twice=True)
    )
    yield "core camembert", {"tokenizer.json": camembert_json, "config.json": {"model_type": "camembert"}}
    yield "core camembert extra", {
        "tokenizer.json": {**camembert_json, "added_tokens": added(few)},
        "config.json": {"model_type": "camembert"},
        "tokenizer_config.json": of_class("CamembertTokenizer", additional_special_tokens=["<s>NOTUSED"]),
    }
    albert = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    quotes = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    albert_normal = part(
        normalizers.Sequence([*quotes, normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()])
    )
    albert_normal["normalizers"].append(precompiled)
    albert_json = tokenizer_json(
        unigram(albert, 1),
        albert_normal,
        split,
        template("[CLS]", "[SEP]", 2, 3),
        added(list(zip(albert, range(5))), lstrip="[MASK]"),
    )
    yield "core albert", {"tokenizer.json": albert_json, "config.json": {"model_type": "albert"}}
    yield "core albert cased", {
        "tokenizer.json": albert_json,
        "config.json": {"model_type": "albert"},
        "tokenizer_config.json": of_class(
            "AlbertTokenizerFast", do_lower_case=False, keep_accents=True, add_prefix_space=False
        ),
    }
    yield "core albert null", {
        "tokenizer.json": albert_json,
        "config.json": {"model_type": "albert"},
        "tokenizer_config.json": {"do_lower_case": None, "add_prefix_space": None},
    }
    yield "core albert frame", {
        "tokenizer.json": {
            **albert_json,
            "post_processor": template("[CLS]", "[SEP]", 2, 3, types=(0, 0), twice=True),
        },
        "config.json": {"model_type": "albert"},
    }
    deberta = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    deberta_json = tokenizer_json(
        unigram(deberta, 3), None, metaspace, template("[CLS]", "[SEP]", 1, 2), added(list(zip(deberta, range(5))))
    )
    yield "core deberta-v2", {"tokenizer.json": deberta_json, "config.json": {"model_type": "deberta-v2"}}
    yield "core deberta-v2 punctuation", {
        "tokenizer.json": deberta_json,
        "config.json": {"model_type": "deberta-v2"},
        "tokenizer_config.json": of_class(
            "DebertaV2TokenizerFast", do_lower_case=True, split_by_punct=True, add_prefix_space=False
        ),
    }


def numbers(ids):
    return " ".join(map(str, ids))


def golden(name, files, bodies):
    entry = {"name": name, "files": {}}
    with tempfile.TemporaryDirectory() as dir:
        for file, content in files.items():
            text = (
                content
                if isinstance(content, str)
                else json.dumps(content, ensure_ascii=False, separators=(",", ":"))
            )
            with open(os.path.join(dir, file), "w", encoding="utf-8", newline="") as out:
                out.write(text)
            if len(text) > 400:
                key = hashlib.sha256(text.encode()).hexdigest()[:8]
                bodies[key] = text
                entry["files"][file] = {"body": key}
            else:
                entry["files"][file] = text
        tokenizer = transformers.AutoTokenizer.from_pretrained(dir)
    entry["class"] = type(tokenizer).__name__
    texts = CORE if name.startswith("core") else TEXTS
    entry["singles"] = [numbers(ids) for ids in tokenizer(texts)["input_ids"]] if texts else []
    entry["pairs"] = []
    first, second = zip(*(PAIRS[:4] if name.startswith("core") else PAIRS))
    for length in LENGTHS:
        both = tokenizer(list(first), list(second), truncation=True, max_length=length, return_token_type_ids=True)
        entry["pairs"].append(
            [
                f"{numbers(ids)} | {''.join(map(str, types))}"
                for ids, types in zip(both["input_ids"], both["token_type_ids"])
            ]
        )
        ids = tokenizer(CORE[2], truncation=True, max_length=length)["input_ids"]
        entry.setdefault("cut", []).append(numbers(ids))
    return entry


def main():
    bodies, entries = {}, []
    for name, files in directories():
        entries.append(golden(name, files, bodies))
    versions = {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__}
    out = {
        "versions": versions,
        "texts": TEXTS,
        "core": CORE,
        "pairs": PAIRS,
        "lengths": LENGTHS,
        "bodies": bodies,
        "directories": entries,
    }
    path = os.path.join(os.path.dirname(os.path.realpath(__file__)), "tokenizers.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(out, file, ensure_ascii=True, indent=0)
        file.write("\n")
    print(f"{len(entries)} directories, {os.path.getsize(path)} bytes")


if __name__ == "__main__":
    main()
