function __sourcecraft_artifacts_completion
    set -l program (commandline -opc | string replace -r '^~/' $HOME/)[1]
    set -l replies (env _TYPER_COMPLETE_ARGS=(commandline -cp | string collect) \
        _SOURCECRAFT_ARTIFACTS_COMPLETE=complete_fish $program 2>/dev/null)
    if test (count $replies) -gt 0
        printf '%s\n' $replies
    else
        __fish_complete_path (commandline -ct)
    end
end

complete --command sourcecraft-artifacts --no-files --keep-order \
    --arguments '(__sourcecraft_artifacts_completion)'
