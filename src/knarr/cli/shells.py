"""The scripts by which shells ask ``knarr __complete`` what could be meant."""

from __future__ import annotations

# Bash cuts words at ``=`` and ``:``; what stands side by side in the line is put together again,
# and taken away from the answers, since bash replaces only what is behind the last cut.
BASH = r"""# bash completion for knarr
_knarr() {
    local rest=${COMP_LINE:0:COMP_POINT} word words=() line value cut i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((i == 0)) || [[ $rest == [[:space:]]* || -z $rest ]]; then
            rest=${rest#"${rest%%[![:space:]]*}"}
            words+=("")
        fi
        ((i == COMP_CWORD)) && word=$rest
        words[${#words[@]}-1]+=$word
        rest=${rest#"$word"}
    done
    word=${words[${#words[@]}-1]}
    cut=
    [[ $COMP_WORDBREAKS == *:* && $word == *:* ]] && cut=${word%"${word##*:}"}
    [[ $COMP_WORDBREAKS == *=* && ${word#"$cut"} == *=* ]] && cut=${word%"${word##*=}"}
    COMPREPLY=()
    while IFS= read -r line; do
        value=${line%%$'\t'*}
        [[ $value == *[/=:] ]] && compopt -o nospace 2>/dev/null
        if [[ $value == \~/* ]]; then
            printf -v value '~/%q' "${value:2}"
        else
            printf -v value %q "$value"
        fi
        COMPREPLY+=("${value#"$cut"}")
    done < <("${words[0]}" __complete -- "${words[@]:1}" 2>/dev/null)
}
complete -F _knarr knarr
"""

ZSH = r"""#compdef knarr
# zsh completion for knarr
_knarr() {
    local line value text
    local -a whole begun whole_texts begun_texts
    if [[ $PREFIX == \~* ]]; then
        _files
        return
    fi
    for line in "${(@f)$("${(@Q)words[1]}" __complete -- "${(@)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)}"; do
        value=${line%%$'\t'*}
        [[ -n $value ]] || continue
        text=$value
        [[ $line == *$'\t'* ]] && text="$value  -- ${line#*$'\t'}"
        if [[ $value == *[/=:] ]]; then
            begun+=("$value")
            begun_texts+=("$text")
        else
            whole+=("$value")
            whole_texts+=("$text")
        fi
    done
    (( $#whole )) && compadd -l -d whole_texts -a whole
    (( $#begun )) && compadd -S '' -l -d begun_texts -a begun
    (( $#whole + $#begun ))
}
if [[ $funcstack[1] == _knarr ]]; then
    _knarr "$@"
else
    compdef _knarr knarr
fi
"""  # noqa: E501

FISH = r"""# fish completion for knarr
function __knarr_complete
    set -l words (commandline -opc)
    set -l program $words[1]
    set -e words[1]
    $program __complete -- $words (commandline -ct) 2>/dev/null
end
complete -c knarr -f -a '(__knarr_complete)'
"""

SCRIPTS = {"bash": BASH, "fish": FISH, "zsh": ZSH}
# Where packages put them, below a prefix.
PLACES = {
    "bash": "share/bash-completion/completions/knarr",
    "fish": "share/fish/vendor_completions.d/knarr.fish",
    "zsh": "share/zsh/site-functions/_knarr",
}
