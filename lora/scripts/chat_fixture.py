#!/usr/bin/env python3
"""Makes lora/tests/fixtures/chat.json: chat templates, conversations, and what transformers renders of them.

    python3 lora/scripts/chat_fixture.py

Needs transformers. The templates are our own; between them they use what published ones do: loops with their variables, conditions on the
first and last message, namespaces, slices, string methods, filters, tests, tojson, raise_exception, white-space control, and special tokens.
"""

import json
import pathlib

import transformers
from tokenizers import Tokenizer, models

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "chat.json"

TEMPLATES = {
    "marked": """{%- if messages[0]['role'] != 'system' -%}
{{ '<|start|>system\\nBe brief.<|end|>\\n' }}
{%- endif -%}
{%- for message in messages %}
    {{- '<|start|>' + message['role'] + '\\n' + message['content'] + '<|end|>' + '\\n' }}
{%- endfor %}
{% if add_generation_prompt %}{{ '<|start|>assistant\\n' }}{% endif %}""",
    "bracketed": """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set first = messages[0].content | trim + '\\n\\n' %}{% else %}{% set rest = messages %}{% set first = '' %}{% endif %}
{% for message in rest %}
{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must take turns') }}{% endif %}
{% if message.role == 'user' %}
[ASK] {{ (first if loop.first else '') + message.content.strip() }} [/ASK]
{% elif message.role == 'assistant' %}
 {{ message.content | trim }}{{ eos_token }}
{% endif %}
{% endfor %}""",
    "counted": """{% set seen = namespace(users=0, last='none') %}
{%- for message in messages if message.role is defined -%}
    {%- if message.role == 'user' %}{% set seen.users = seen.users + 1 %}{% endif -%}
    {%- set seen.last = message.role -%}
    {{ loop.index }}/{{ loop.length }} {{ message.role | upper }}: {{ message.content.split('\\n')[0] | tojson }}
{% if not loop.last %}---
{% endif %}
{%- endfor -%}
{{ seen.users ~ ' asked, last ' ~ seen.last }}{% if add_generation_prompt and not seen.last.startswith('assist') %}
> {% endif %}""",
}

CONVERSATIONS = [
    [("user", "What is an infarction?")],
    [("system", "  You code diagnoses. "), ("user", " Otitis media, \"left\" ear \n")],
    [("user", "Fracture\nof the hand"), ("assistant", " S62 \n"), ("user", "And the foot? 東京")],
    [("user", "A"), ("assistant", "B")],
    [("assistant", "I begin."), ("user", "Go on.")],
]


def main():
    plain = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), bos_token="<s>", eos_token="</s>")
    cases = []
    for name, template in TEMPLATES.items():
        for conversation in CONVERSATIONS:
            messages = [{"role": role, "content": content} for role, content in conversation]
            for prompt in (False, True):
                try:
                    text = plain.apply_chat_template(
                        messages, chat_template=template, tokenize=False, add_generation_prompt=prompt)
                except Exception as error:  # raise_exception
                    assert "take turns" in str(error), error
                    text = None
                cases.append({"template": name, "messages": messages, "add_generation_prompt": prompt, "text": text})
    OUT.write_text(json.dumps({
        "transformers": transformers.__version__, "bos_token": "<s>", "eos_token": "</s>", "templates": TEMPLATES, "cases": cases,
    }, indent=1, ensure_ascii=False) + "\n")
    print(len(cases), "cases,", sum(case["text"] is None for case in cases), "refused")


if __name__ == "__main__":
    main()
