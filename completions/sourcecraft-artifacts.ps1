Register-ArgumentCompleter -Native -CommandName sourcecraft-artifacts -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = $commandAst.CommandElements |
        Where-Object { $_.Extent.EndOffset -lt $cursorPosition } |
        ForEach-Object {
            if ($_ -is [System.Management.Automation.Language.StringConstantExpressionAst]) {
                $_.Value
            } else {
                $_.Extent.Text
            }
        }
    try {
        $Env:_SOURCECRAFT_ARTIFACTS_COMPLETE = 'complete_powershell'
        $Env:_TYPER_COMPLETE_ARGS = $words -join "`n"
        $Env:_TYPER_COMPLETE_WORD_TO_COMPLETE = $wordToComplete
        sourcecraft-artifacts 2>$null | ForEach-Object {
            $text, $name, $help = $_ -split "`t", 3
            [System.Management.Automation.CompletionResult]::new(
                $text, $name, 'ParameterValue', $help)
        }
    } finally {
        Remove-Item -ErrorAction Ignore Env:_SOURCECRAFT_ARTIFACTS_COMPLETE,
            Env:_TYPER_COMPLETE_ARGS, Env:_TYPER_COMPLETE_WORD_TO_COMPLETE
    }
}
