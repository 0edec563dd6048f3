# Shared by the scripts of engines: sourced, never run. Processes are known by what they are, not by a number alone.
stored() { cat "$1" 2>/dev/null || :; }

# Is the process $1 (a number or nothing) one that has the word $2 on its command line? A pid alone proves nothing:
# after a kill -9 or a reboot it may be anybody's.
is() { [ -n "$1" ] && tr '\0' '\n' 2>/dev/null <"/proc/$1/cmdline" | grep -qxF -e "$2"; }

# All processes with the words $1 and $2 on their command lines (grep itself has but one, and is gone by then).
with_words() {
  for file in $(grep -lszxF -e "$1" /proc/[0-9]*/cmdline); do
    pid=${file#/proc/} pid=${pid%/cmdline}
    if is "$pid" "$2"; then echo "$pid"; fi
  done
}

# Waits until the process $1 is gone, for $2 seconds at most.
gone() { timeout "$2" tail --pid="$1" -s 0.05 -f /dev/null; }

# Asks the process $1 (a number or nothing) to end, and makes it after $2 seconds.
stop_process() {
  [ -n "$1" ] || return 0
  kill -TERM "$1" 2>/dev/null || return 0
  gone "$1" "$2" || { kill -KILL "$1" 2>/dev/null || :; gone "$1" 10; }
}
