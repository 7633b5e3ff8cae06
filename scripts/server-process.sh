# shellcheck shell=bash
# Sourced by the scripts that start servers: how a server's process begins and how it ends with whoever wanted it.

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

# ending_with COMMAND: has COMMAND done when this script ends, however that comes.
ending_with() {
  # shellcheck disable=SC2064 # The command is known now.
  trap "[[ -z \${reader:-} ]] || kill \"\$reader\" 2>/dev/null || true; $1" EXIT
  trap 'exit 1' INT TERM
}

# until_released: waits until standard input closes, as it does when whoever has its other end is gone.
until_released() {
  # Waiting, and not reading itself, can be interrupted by a signal.
  exec 3<&0
  cat <&3 >/dev/null &
  reader=$!
  wait "$reader" || true
}
