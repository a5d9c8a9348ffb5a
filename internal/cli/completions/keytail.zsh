#compdef keytail
# keytail completion for zsh. To try it: source <(keytail completion zsh)
autoload -U +X compinit && compinit
autoload -U +X bashcompinit && bashcompinit
complete -o default -C keytail keytail
