# What the containers of `sam local invoke` write, for test/sam-local, which sources this. The SAM CLI passes a container's log on
# until one second after the response, and then ends: with a slow Docker (dockerd 20.10) the last lines are not yet written. Docker
# itself has them, until the container is removed and to the end for a process that already reads them. So each container's log
# is read from its start, in parallel with the SAM CLI, and an awaited line may come after the response.

await() { # a command, until it succeeds, for AWAIT seconds at the most, a minute where that is not set
	local until=$((SECONDS + ${AWAIT:-60}))
	while ! "$@" >/dev/null 2>&1; do
		((SECONDS < until)) || { echo "waited ${AWAIT:-60} s in vain for: $*" >&2; return 1; }
		sleep 0.5
	done
}

# follow_containers reads the log of every container that starts from now on into a file of the directory. Its two processes are
# added to the list started.
follow_containers() { # directory
	local directory=$1
	mkdir -p "$directory"
	mkfifo "$directory.fifo"
	# Since: a container that starts before this is listening is reported all the same.
	docker events --since "$(date +%s)" --filter type=container --filter event=start --format '{{.ID}}' >"$directory.fifo" 2>/dev/null &
	started+=($!)
	while read -r id; do docker logs --follow "$id" >"$directory/$id" 2>&1 & done <"$directory.fifo" &
	started+=($!)
}

# forget_containers leaves out what earlier containers have written, and may still write.
forget_containers() { # directory
	rm -f "$1"/*
}

logged() { # directory, the SAM CLI's log, what must be in one of them
	grep -qE "$3" "$2" "$1"/* 2>/dev/null
}
