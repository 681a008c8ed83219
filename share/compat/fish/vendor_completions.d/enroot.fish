# Completion of enroot for fish. Made by npm run docs.

# Whether the command is this one.
function __enroot_is
    set -l words (commandline -opc)
    test (count $words) -ge 2; and test $words[2] = $argv[1]
end

# What the program lists: names of containers or images.
function __enroot_names
    enroot list 2>/dev/null
end

complete -c enroot -f -n 'not __fish_seen_subcommand_from batch create digest exec export import info list load remove start version help' -a batch -d 'start what the line #ENROOT_ROOTFS= of CONFIG names: start --conf CONFIG'
complete -c enroot -f -n 'not __fish_seen_subcommand_from batch create digest exec export import info list load remove start version help' -a create -d 'make a container of a squashfs file'
complete -c enroot -f -n 'not __fish_seen_subcommand_from batch create digest exec export import info list load remove start version help' -a digest -d 'print the digest of an image\'s manifest'
complete -c enroot -f -n 'not __fish_seen_subcommand_from batch create digest exec export import info list load remove start version help' -a exec -d 'run a command in a container that runs'
complete -c enroot -f -n 'not __fish_seen_subcommand_from batch create digest exec export import info list load remove start version help' -a export -d 'write a container as a squashfs file'
complete -c enroot -f -n 'not __fish_seen_subcommand_from batch create digest exec export import info list load remove start version help' -a import -d 'bring an image into a squashfs file'
complete -c enroot -f -n 'not __fish_seen_subcommand_from batch create digest exec export import info list load remove start version help' -a info -d 'show the settings in force'
complete -c enroot -f -n 'not __fish_seen_subcommand_from batch create digest exec export import info list load remove start version help' -a list -d 'list containers'
complete -c enroot -f -n 'not __fish_seen_subcommand_from batch create digest exec export import info list load remove start version help' -a load -d 'make a container of an image; URI as of import'
complete -c enroot -f -n 'not __fish_seen_subcommand_from batch create digest exec export import info list load remove start version help' -a remove -d 'remove containers, with all that is in them'
complete -c enroot -f -n 'not __fish_seen_subcommand_from batch create digest exec export import info list load remove start version help' -a start -d 'start a container, or a squashfs file. COMMAND goes to its /etc/rc or entrypoint'
complete -c enroot -f -n 'not __fish_seen_subcommand_from batch create digest exec export import info list load remove start version help' -a version -d 'print the version of enroot whose behaviour this is'
complete -c enroot -f -n 'not __fish_seen_subcommand_from batch create digest exec export import info list load remove start version help' -a help -d 'show the words of a command'
complete -c enroot -f -n '__enroot_is help' -a 'batch create digest exec export import info list load remove start version'
complete -c enroot -n '__enroot_is batch' -s h -l help -d 'show this help'
complete -c enroot -n '__enroot_is create' -s n -l name -r -d 'name of the container; made from the file\'s if not given'
complete -c enroot -n '__enroot_is create' -s f -l force -d 'replace what has the name already'
complete -c enroot -n '__enroot_is create' -s h -l help -d 'show this help'
complete -c enroot -n '__enroot_is digest' -s a -l arch -r -d 'architecture of the image, such as x86_64, aarch64 or ppc64le; this machine\'s if not given'
complete -c enroot -n '__enroot_is digest' -s h -l help -d 'show this help'
complete -c enroot -n '__enroot_is exec' -s e -l env -r -d 'set a variable; without a value, to the caller\'s (may repeat)'
complete -c enroot -n '__enroot_is exec' -s h -l help -d 'show this help'
complete -c enroot -n '__enroot_is exec' -a '(__enroot_names containers)'
complete -c enroot -n '__enroot_is export' -s o -l output -r -d 'the file; named after the container if not given'
complete -c enroot -n '__enroot_is export' -s f -l force -d 'replace what has the name already'
complete -c enroot -n '__enroot_is export' -s h -l help -d 'show this help'
complete -c enroot -n '__enroot_is export' -a '(__enroot_names containers)'
complete -c enroot -n '__enroot_is import' -s a -l arch -r -d 'architecture of the image, such as x86_64, aarch64 or ppc64le; this machine\'s if not given'
complete -c enroot -n '__enroot_is import' -s o -l output -r -d 'the file; named after the URI if not given'
complete -c enroot -n '__enroot_is import' -s h -l help -d 'show this help'
complete -c enroot -n '__enroot_is info' -s h -l help -d 'show this help'
complete -c enroot -n '__enroot_is list' -s f -l fancy -d 'as a table, with what runs in them'
complete -c enroot -n '__enroot_is list' -s h -l help -d 'show this help'
complete -c enroot -n '__enroot_is load' -s a -l arch -r -d 'architecture of the image, such as x86_64, aarch64 or ppc64le; this machine\'s if not given'
complete -c enroot -n '__enroot_is load' -s n -l name -r -d 'name of the container; made from the URI if not given'
complete -c enroot -n '__enroot_is load' -s f -l force -d 'replace what has the name already'
complete -c enroot -n '__enroot_is load' -s h -l help -d 'show this help'
complete -c enroot -n '__enroot_is remove' -s f -l force -d 'do not ask, and kill what runs in them'
complete -c enroot -n '__enroot_is remove' -s h -l help -d 'show this help'
complete -c enroot -n '__enroot_is remove' -a '(__enroot_names containers)'
complete -c enroot -n '__enroot_is start' -s c -l conf -r -d 'a bash script: environ(), mounts(), hooks(), rc(), #ENROOT_…'
complete -c enroot -n '__enroot_is start' -l rc -r -d 'run this in the place of /etc/rc; may be a pipe'
complete -c enroot -n '__enroot_is start' -s e -l env -r -d 'set a variable; without a value, to the caller\'s (may repeat)'
complete -c enroot -n '__enroot_is start' -s r -l root -d 'be root inside'
complete -c enroot -n '__enroot_is start' -s w -l rw -d 'keep changes in the container'
complete -c enroot -n '__enroot_is start' -s m -l mount -r -d 'mount SRC:DST[:OPTIONS] (may repeat)'
complete -c enroot -n '__enroot_is start' -l pid -d 'processes of its own'
complete -c enroot -n '__enroot_is start' -l net -d 'no network but its own lo'
complete -c enroot -n '__enroot_is start' -l ipc -d 'System V IPC and message queues of its own'
complete -c enroot -n '__enroot_is start' -l uts -d 'a host name of its own'
complete -c enroot -n '__enroot_is start' -s h -l help -d 'show this help'
complete -c enroot -n '__enroot_is start' -a '(__enroot_names containers)'
complete -c enroot -n '__enroot_is version' -s h -l help -d 'show this help'
