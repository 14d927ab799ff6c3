import io
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest
from tiny_exports import TRAIN_LENGTH, random_model, reciting_model, write

from openqwen.cli import chat as chat_verb
from openqwen.cli import generate as generate_verb
from openqwen.core.errors import UserError
from openqwen.infer.chat import Chat, Turn
from openqwen.infer.config import Sampling
from openqwen.infer.load import load


def talk(lm, *lines, system=None, **sampling):
    """What a chat writes when these lines are piped in, and the chat itself."""
    out = io.StringIO()
    said = io.StringIO("".join(f"{line}\n" for line in lines))
    chat = Chat(lm, Sampling(**sampling), stdin=said, stdout=out, system=system)
    chat.run()
    return out.getvalue(), chat


def wide(lm):
    """The same model with room for a conversation."""
    lm.context = 4096
    return lm


def test_a_piped_conversation_prints_only_the_replies(chat_reciter):
    lm = wide(chat_reciter("Fine day"))
    written, chat = talk(lm, "Hello", "", "And you?")
    assert written == "Fine day\nFine day\n"
    assert chat.turns == [Turn("Hello", "Fine day"), Turn("And you?", "Fine day")]


def test_a_reply_cannot_steer_the_terminal(chat_reciter):
    written, chat = talk(wide(chat_reciter("Fine\x1b[2J\rday")), "Hello")
    assert written == "Fine\ufffd[2Jday\n"
    assert chat.turns == [Turn("Hello", "Fine\x1b[2J\rday")], "the history keeps it as it was"


def test_the_history_and_the_system_prompt_reach_the_model(chat_reciter):
    lm = wide(chat_reciter("Fine day"))
    _, chat = talk(lm, "Hello", system="Be brief.")
    text = lm.tokenizer.decode(chat._render("Next"))
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\nFine day<|im_end|>\n<|im_start|>user\nNext<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_commands_do_what_they_say(chat_reciter):
    lm = wide(chat_reciter("Fine day"))
    written, chat = talk(
        lm, "Hello", "/clear", "/system Be kind.", "/sytem", "/system", "/exit", "x"
    )
    assert written.splitlines() == [
        "Fine day",
        "(conversation forgotten)",
        "(system prompt set; the conversation goes on (/clear forgets it))",
        "(/sytem is not a command: /clear forgets the conversation, /system TEXT sets the system "
        "prompt, /exit leaves)",
        "(/system needs the text of the system prompt)",
    ]
    assert (chat.turns, chat.system) == ([], "Be kind.")


def test_the_oldest_turns_are_dropped_with_a_word_when_the_context_is_full(chat_reciter):
    lm = chat_reciter("Fine day")
    lm.context = 140
    written, chat = talk(lm, "one", "two", "three", "four", max_new_tokens=20)
    assert written.splitlines() == [
        *["Fine day"] * 2,
        "(left out 1 turn at the beginning: the context holds 140 tokens)",
        "Fine day",
        "(left out 1 turn at the beginning: the context holds 140 tokens)",
        "Fine day",
    ]
    assert [turn.user for turn in chat.turns] == ["three", "four"]


def test_a_message_longer_than_the_context_is_answered_with_a_warning(chat_reciter):
    lm = chat_reciter("Fine day")
    written, _ = talk(lm, "x" * 100)
    assert f"the context holds {TRAIN_LENGTH}; --context" in written
    assert "(cut after 1 token)" in written


class Interrupted(io.StringIO):
    """A terminal whose user presses Ctrl-C once, when `after` has been written."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def write(self, text):
        count = super().write(text)
        if self.after and self.after in self.getvalue():
            self.after = ""
            raise KeyboardInterrupt
        return count


def test_ctrl_c_stops_the_reply_and_keeps_what_was_said(chat_reciter):
    lm = wide(chat_reciter("Fine day"))
    out = Interrupted("Fine")
    chat = Chat(lm, Sampling(), stdin=io.StringIO("Hello\nAgain\n"), stdout=out)
    chat.run()
    assert out.getvalue() == "Fine\n(stopped)\nFine day\n"
    assert chat.turns == [Turn("Hello", "Fine"), Turn("Again", "Fine day")]


def test_an_empty_reply_is_said_to_be_one(chat_reciter):
    written, chat = talk(wide(chat_reciter("")), "Hello")
    assert written == "\n(the model ended its turn without a word)\n"
    assert chat.turns == [Turn("Hello", "")]


def test_ctrl_c_at_the_prompt_says_how_to_leave(chat_reciter):
    class Impatient(io.StringIO):
        pressed = False

        def readline(self, *args):
            if not self.pressed:
                self.pressed = True
                raise KeyboardInterrupt
            return super().readline(*args)

    out = io.StringIO()
    Chat(wide(chat_reciter("Hi")), Sampling(), stdin=Impatient("a\n"), stdout=out).run()
    assert out.getvalue() == "\n(Ctrl-D or /exit leaves)\nHi\n"


def run_verb(verb, *argv):
    import argparse

    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    return verb.run(parser.parse_args(list(map(str, argv))))


def test_generate_streams_to_stdout_and_its_plan_to_stderr(random_export, capsys):
    arguments = [random_export, "Hello", "--max-new-tokens", 8, "--dtype", "float32"]
    assert run_verb(generate_verb, *arguments, "--greedy") == 0
    captured = capsys.readouterr()
    lm = load(random_export, dtype="float32")
    assert captured.out == lm.generate(["Hello"], max_new_tokens=8)[0].text + "\n"
    assert "float32 on cpu (torch's kernels), context 32 tokens" in captured.err
    assert run_verb(generate_verb, *arguments, "--context", 64) == 0
    assert (
        "(trained on 32): dynamic NTK (α 3 at 64 tokens), LogN, windows" in capsys.readouterr().err
    )


def test_recompute_is_a_flag_of_the_plan_and_needs_dynamic_ntk(random_export, capsys):
    arguments = [random_export, "Hello", "--max-new-tokens", 8, "--dtype", "float32", "--greedy"]
    assert run_verb(generate_verb, *arguments, "--context", 64, "--recompute") == 0
    assert "NTK (α 3 at 64 tokens, recomputed at each step), LogN" in capsys.readouterr().err
    with pytest.raises(UserError, match="which is off here: give a context beyond the training"):
        run_verb(generate_verb, *arguments, "--recompute")


def test_generate_reads_a_prompt_from_stdin(random_export, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hello"))
    arguments = [random_export, "-", "--max-new-tokens", 8, "--greedy", "--dtype", "float32"]
    assert run_verb(generate_verb, *arguments) == 0
    piped = capsys.readouterr().out
    run_verb(generate_verb, random_export, "Hello", *arguments[2:])
    assert capsys.readouterr().out == piped


def test_bad_options_are_one_line(random_export, tmp_path):
    with pytest.raises(UserError, match=r"command line: greedy and temperature = 1\.0 contradict"):
        run_verb(generate_verb, random_export, "x", "--greedy", "--temperature", 1.0)
    with pytest.raises(UserError, match=r"command line: top_p = 2\.0 is not valid"):
        run_verb(chat_verb, random_export, "--top-p", 2.0)
    bare = write(tmp_path, random_model(), with_tokenizer=False)
    with pytest.raises(UserError, match="has no tokenizer; chat needs one"):
        run_verb(chat_verb, bare)


@pytest.mark.slow
def test_ctrl_c_on_a_real_terminal_stops_the_reply_and_not_the_program(tmp_path):
    endless = write(tmp_path, reciting_model([10, 97, 98, 97]))  # newline: abababab…
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "openqwen", "chat", str(endless), "--context", "100000",
         "--max-new-tokens", "100000", "--dtype", "float32"],
        stdin=terminal, stdout=terminal, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    seen = ""

    def interrupt():
        process.send_signal(signal.SIGINT)

    def wait_for(text, seconds=60, again=None):
        nonlocal seen
        end = time.monotonic() + seconds
        while text not in seen and time.monotonic() < end:
            if select.select([controller], [], [], 1.0)[0]:
                seen += os.read(controller, 4096).decode(errors="replace")
            elif again is not None:
                again()
        assert text in seen
        seen = seen.split(text, 1)[1]

    try:
        wait_for("> ")
        os.write(controller, b"Hello\n")
        wait_for("abab")
        interrupt()
        wait_for("(stopped)")
        wait_for("> ")
        interrupt()
        # a signal between readline's prompt and its wait is heard at the next one only
        wait_for("(Ctrl-D or /exit leaves)", again=interrupt)
        wait_for("> ")
        os.write(controller, b"\x04")
        assert process.wait(30) == 0
    finally:
        process.kill()
        os.close(controller)
