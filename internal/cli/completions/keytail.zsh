#compdef keytail
# keytail completion for zsh. To try it: source <(keytail completion zsh)
(( $+functions[compdef] )) || { autoload -U +X compinit && compinit }
autoload -U +X bashcompinit && bashcompinit
complete -o default -C keytail keytail
# In a directory of $fpath this file is a function, called for the first completion.
if [[ $funcstack[1] == _keytail ]]; then
    _bash_complete -o default -C keytail
fi
