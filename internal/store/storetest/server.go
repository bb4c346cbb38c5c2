// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bufio"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// script runs a server in the directory $2 with the programs in $1 until its
// standard input ends, and takes the directory away. The other end of that pipe
// is this process, so that the server goes with it however it ends. Nothing in it
// outlives it: it keeps as little of a log as it can, which is a gigabyte otherwise.
const script = `
trap '' PIPE
cd "$2" || exit 1
"$1"/initdb -D data -U tally -A trust -E UTF8 --locale=C --no-sync --no-instructions >log 2>&1 || { tail -n 3 log; rm -rf "$2"; exit 1; }
"$1"/postgres -D data -k "$2" -h '' -F -c max_connections=300 -c full_page_writes=off \
	-c wal_level=minimal -c max_wal_senders=0 -c min_wal_size=32MB -c max_wal_size=64MB >>log 2>&1 &
until "$1"/pg_isready -q -h "$2"; do
	kill -0 $! || { tail -n 3 log; rm -rf "$2"; exit 1; }
	sleep 0.02
done
echo ready
cat >/dev/null
kill -QUIT $!
wait $!
cd / && rm -rf "$2"
`

// server starts PostgreSQL when it is first called, and returns its URL.
var server = sync.OnceValues(start)

func start() (string, error) {
	programs, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(programs) == 0 {
		return "", errors.New("these tests need PostgreSQL: apt-get install postgresql, or set TALLYSTICK_TEST_POSTGRES to the URL of a server")
	}
	dir, err := os.MkdirTemp(parent(), "tally-pg-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("sh", "-c", script, "sh", filepath.Dir(programs[len(programs)-1]), dir)
	if cmd.SysProcAttr, err = owner(dir); err != nil {
		return "", err
	}
	// The pipe stays open because Wait, below, holds it.
	if _, err := cmd.StdinPipe(); err != nil {
		return "", err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	said := bufio.NewScanner(out)
	for said.Scan() {
		if said.Text() == "ready" {
			go cmd.Wait()
			q := url.Values{"host": {dir}, "user": {"tally"}}
			return "postgres:///postgres?" + q.Encode(), nil
		}
		err = errors.Join(err, errors.New(said.Text()))
	}
	return "", fmt.Errorf("couldn't start PostgreSQL: %w", errors.Join(err, cmd.Wait()))
}

// parent is where the server keeps its files: in memory where there is room for them, because a
// database is 300 files, each test makes one of its own, and a disk takes most of a test's time
// for them. "" is the directory of temporary files.
func parent() string {
	const shared, room = "/dev/shm", 2 << 30 // bytes; all tests at once need a tenth
	const tmpfs = 0x01021994                 // statfs(2)
	var fs unix.Statfs_t
	if err := unix.Statfs(shared, &fs); err != nil || int64(fs.Type) != tmpfs || fs.Bavail*uint64(fs.Bsize) < room {
		return ""
	}
	if unix.Access(shared, unix.W_OK|unix.X_OK) != nil {
		return ""
	}
	return shared
}

// owner returns how to run the server: in a session of its own, so that ^C ends
// it by the pipe and not before the tests, and never as root, which PostgreSQL
// refuses. The directory is given to whoever runs it.
func owner(dir string) (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Setsid: true}
	if os.Getuid() != 0 {
		return attr, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("couldn't find the user to run PostgreSQL as: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr, os.Chown(dir, int(uid), int(gid))
}
