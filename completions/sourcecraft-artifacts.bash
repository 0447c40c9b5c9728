_sourcecraft_artifacts_completion() {
    local reply
    COMPREPLY=()
    while IFS= read -r reply; do
        COMPREPLY+=("$reply")
    done < <(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD="$COMP_CWORD" \
        COMP_WORDBREAKS="$COMP_WORDBREAKS" _TYPER_COMPLETE_ARGS="${COMP_LINE:0:COMP_POINT}" \
        _SOURCECRAFT_ARTIFACTS_COMPLETE=complete_bash "${1/#\~\//$HOME/}" 2>/dev/null)
}

complete -o default -o nosort -F _sourcecraft_artifacts_completion sourcecraft-artifacts \
    2>/dev/null ||
    complete -o default -F _sourcecraft_artifacts_completion sourcecraft-artifacts
