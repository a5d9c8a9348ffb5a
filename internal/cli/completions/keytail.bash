# keytail completion for bash. To try it: source <(keytail completion bash)
complete -o default -C keytail keytail
