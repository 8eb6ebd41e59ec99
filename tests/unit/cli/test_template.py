"""The subset of Go templates: what Docker's users write in --format."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.cli.template import Template, TemplateError

DATA: dict[str, Any] = {
    "Id": "abcdef0123456789",
    "Name": "/web",
    "Size": 1500,
    "Ratio": 0.5,
    "Running": True,
    "Nothing": None,
    "State": {"Status": "running", "ExitCode": 0, "Pid": 42},
    "Config": {
        "Env": ["A=1", "B=2"],
        "Cmd": None,
        "Labels": {"tier": "web", "org.example/x": "y"},
    },
    "Mounts": [{"Source": "/a", "RW": True}, {"Source": "/b", "RW": False}],
    "Label": lambda name: {"tier": "web"}.get(name, ""),
    "Empty": [],
}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        ("{{.Id}}", "abcdef0123456789"),
        ("{{.State.Status}} {{.State.Pid}}", "running 42"),
        ("{{ .Running }}|{{.Ratio}}", "true|0.5"),
        ("{{.Nothing}}", "<no value>"),
        ("{{.Config.Env}}", "[A=1 B=2]"),
        ("{{.Config.Labels}}", "map[org.example/x:y tier:web]"),
        ("{{.Config.Labels.tier}}", "web"),
        ("{{.Config.Labels.none}}", "<no value>"),
        ('{{index .Config.Labels "org.example/x"}}', "y"),
        ('{{index .Config.Labels "none"}}', ""),
        ("{{index .Config.Env 1}}", "B=2"),
        ("{{(index .Mounts 0).Source}}", "/a"),
        ("{{json .Config.Env}}", '["A=1","B=2"]'),
        ("{{json .State}}", '{"Status":"running","ExitCode":0,"Pid":42}'),
        ("{{.State | json}}", '{"Status":"running","ExitCode":0,"Pid":42}'),
        ('{{join .Config.Env ", "}}', "A=1, B=2"),
        ('{{range $i, $e := split .Id "d"}}{{$i}}{{$e}};{{end}}', "0abc;1ef0123456789;"),
        ("{{upper .Name}} {{.Name | upper | lower}}", "/WEB /web"),
        ('{{title "hello world"}}', "Hello World"),
        ("{{truncate .Id 6}}", "abcdef"),
        ('{{pad "x" 1 2}}.', " x  ."),
        ("{{len .Config.Env}} {{len .Id}}", "2 16"),
        ('{{printf "%s-%05d-%q-%v-%-4s|" .Name 42 "a" true "b"}}', '/web-00042-"a"-true-b   |'),
        ('{{println "a" 1}}', "a 1\n"),
        ('{{print "a" 1 2 "b"}}', "a1 2b"),
        ("{{if .Running}}yes{{else}}no{{end}}", "yes"),
        ("{{if .Empty}}yes{{else if .Running}}second{{else}}no{{end}}", "second"),
        ('{{if eq .State.Status "running"}}up{{end}}', "up"),
        ('{{if eq .State.Status "exited" "running"}}up{{end}}', "up"),
        ("{{if and .Running (gt .State.Pid 0) (not .Empty)}}all{{end}}", "all"),
        ("{{or .Empty .Name}}", "/web"),
        ("{{if ne .State.ExitCode 0}}bad{{else}}good{{end}}", "good"),
        ("{{range .Mounts}}{{.Source}}:{{.RW}} {{end}}", "/a:true /b:false "),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "org.example/x=y;tier=web;"),
        ("{{range .Mounts}}{{$.Name}}{{end}}", "/web/web"),
        ("{{range .Mounts}}{{if .RW}}{{continue}}{{end}}{{.Source}}{{end}}", "/b"),
        ("{{range .Mounts}}{{.Source}}{{break}}{{end}}", "/a"),
        ("{{with .State}}{{.Pid}}{{end}}{{with .Empty}}x{{else}}y{{end}}", "42y"),
        ("{{$x := .Name}}{{$x}}{{$x = 1}}{{$x}}", "/web1"),
        ("a {{- .Name -}} b", "a/webb"),
        ("{{/* nothing */}}x", "x"),
        ('{{.Label "tier"}}', "web"),
        ("{{slice .Id 0 3}}", "abc"),
        ("{{`raw \\n`}}", "raw \\n"),
        ('{{"tab\\t"}}', "tab\t"),
        ("{{range 3}}{{.}}{{end}}", "012"),
    ],
)
def test_render(source: str, expected: str) -> None:
    assert Template(source).render(DATA) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{{.Id",
        "{{end}}",
        "{{if .Id}}",
        "{{nofunction .Id}}",
        "{{}}",
        "{{.Id | }}",
        "{{(.Id}}",
        "{{else}}",
        "{{range .Mounts}}{{else}}",
        "{{.Id }} {{ ~ }}",
    ],
)
def test_malformed_templates_are_refused(source: str) -> None:
    with pytest.raises(TemplateError, match="template parsing error"):
        Template(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{.Nope}}", 'map has no entry for key "Nope"'),
        ("{{.State.Nope}}", 'map has no entry for key "Nope"'),
        ("{{.Id.Nope}}", "can't evaluate field Nope"),
        ("{{index .Config.Env 9}}", "index out of range"),
        ("{{len .Size}}", "len of type"),
        ("{{lt .Id 1}}", "incompatible types"),
        ("{{range .Id}}{{end}}", "range can't iterate"),
        ("{{$y}}", "undefined variable"),
        ("{{break}}", "outside of range"),
        ("{{join}}", "template"),
        ("{{.Config.Cmd.X}}", "nil data"),
    ],
)
def test_what_the_data_do_not_have_is_an_error(source: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        Template(source).render(DATA)


@given(st.text(alphabet='{}.|()$"`-:=ab \\end ifrange', max_size=30))
def test_any_text_renders_or_is_refused(source: str) -> None:
    try:
        Template(source).render(DATA)
    except TemplateError:
        return
