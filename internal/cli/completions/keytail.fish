# keytail completion for fish. To try it: keytail completion fish | source
function __complete_keytail
    set -lx COMP_LINE (commandline -cp)
    test -z (commandline -ct)
    and set COMP_LINE "$COMP_LINE "
    keytail
end
complete -f -c keytail -a "(__complete_keytail)"
