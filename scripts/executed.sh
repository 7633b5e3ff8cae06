# shellcheck shell=bash
# Sourced by the scripts that start servers.

# executed PROCESS: waits until a process that this script began in the background is the program that it is to be. Until then its
# command line is the script's own, and whoever looks for the program's takes it for ended: on a busy machine that is some time.
executed() {
  while cmp --silent "/proc/$1/cmdline" "/proc/$$/cmdline"; do sleep 0.01; done
}
