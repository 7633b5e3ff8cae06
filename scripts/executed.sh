# shellcheck shell=bash
# Sourced by the scripts that start servers.

# executed PROCESS: waits until a process that this script began in the background, as `setsid program …`, is that program, with its
# arguments, or has ended. Until then its command line is another's or empty, and whoever looks for the program's takes it for ended:
# on a busy machine that is some time.
executed() {
  local program
  while program=$(readlink "/proc/$1/exe"); do
    case ${program##*/} in bash | setsid) ;; *) ! grep -q . "/proc/$1/cmdline" || return 0 ;; esac
    sleep 0.01
  done
}
