# bash completion for clara-sandbox: commands, options, configuration keys and their values are asked of the program.
_clara_sandbox() {
  local line=${COMP_LINE:0:COMP_POINT} words cut
  read -r -a words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=("")
  # bash takes "--key=value" for three words where = stands in COMP_WORDBREAKS, and replaces the last one only.
  cut=${words[-1]%"${words[-1]##*["${COMP_WORDBREAKS//[^=:]/}"]}"}
  [[ $COMP_WORDBREAKS == *[=:]* ]] || cut=
  mapfile -t COMPREPLY < <("${words[0]}" complete -- "${words[@]:1}" 2>/dev/null)
  COMPREPLY=("${COMPREPLY[@]#"$cut"}")
  [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
  return 0
}
complete -o default -F _clara_sandbox clara-sandbox
