// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// fileTimeout is how long one file may take.
const fileTimeout = 2 * time.Minute

// common begins every script: messages that can be read, programs of administrators, and
// nothing for others to read. A script ends with status 65 for what is no regular file.
const common = `LC_ALL=C; PATH=$PATH:` + morePrograms + `; export LC_ALL PATH; umask 077
`

// there says why something is not there: it may be missing, or out of sight.
const there = `[ -e "$p" ] || { stat -L -- "$p" >/dev/null; exit 66; }
`

const readScript = common + `p=$1
` + there + `[ -f "$p" ] || exit 65
exec head -c "$2" -- "$p"`

const statScript = common + `exec stat -L --printf='%s\n%f\n%Y\n%u\n%g\n%U\n%G\n' -- "$1"`

const removeScript = common + `p=$1
if [ -d "$p" ] && [ ! -L "$p" ]; then exit 65; fi
[ -e "$p" ] || [ -L "$p" ] || exit 0
rm -f -- "$p" && sync -- "${p%/*}/"`

// writeScript stages standard input beside the file and renames it. Whatever it is cut
// off at, the size tells: only all of the content gets its name. What scripts left that
// were killed is swept away by the number of their process, which is in its name.
const writeScript = common + `p=$1 mode=$2 size=$3 like=$4 n=0
while [ -L "$p" ]; do
	n=$((n + 1))
	[ $n -le 40 ] || { echo "Too many levels of symbolic links" >&2; exit 1; }
	t=$(readlink -- "$p" && echo x) || exit 1
	t=${t%??}
	case $t in
	/*) p=$t ;;
	*) p=${p%/*}/$t ;;
	esac
done
d=${p%/*}/ b=${p##*/} old=
if [ -e "$p" ]; then
	[ -f "$p" ] || exit 65
	old=1
else
	stat -L -- "$d" >/dev/null || exit 66
fi
if [ ! "$like" ] && [ "$old" ]; then like=$p; fi
for f in "$d.$b.tallystick-"*; do
	pid=${f##*.tallystick-}
	case $pid in
	'' | *[!0-9]*) continue ;;
	esac
	[ -d "/proc/$pid" ] || kill -0 "$pid" 2>/dev/null || rm -f -- "$f"
done
tmp=$d.$b.tallystick-$$
trap 'rm -f -- "$tmp"' EXIT
trap 'exit 1' HUP INT TERM PIPE
rm -f -- "$tmp"
set -C
exec 3>"$tmp" || exit 1
set +C
if [ "$like" ]; then
	cp -L --attributes-only --preserve=all -- "$like" "$tmp" || exit 1
	if [ "$(stat -L -c '%a %u %g %C' -- "$like" 2>/dev/null)" != "$(stat -c '%a %u %g %C' -- "$tmp" 2>/dev/null)" ]; then
		echo "couldn't keep mode, owner, group and label: Operation not permitted" >&2
		exit 1
	fi
else
	if [ "$(id -u)" = 0 ]; then
		chown -- "$(stat -L -c '%u:%g' -- "$d")" "$tmp" || exit 1
	fi
	chmod -- "$mode" "$tmp" || exit 1
fi
cat >&3 || exit 1
exec 3>&-
[ "$(stat -c %s -- "$tmp")" = "$size" ] || { echo "the content was cut off" >&2; exit 1; }
sync -- "$tmp" && mv -fT -- "$tmp" "$p" && sync -- "$d"`

// errScript is what went wrong there for none of the reasons that have a kind.
var errScript = errors.New("the far side says no")

// do runs a script and makes an error of what it said.
func (s *SSH) do(ctx context.Context, what, path, line string, stdin []byte, most int) ([]byte, error) {
	output, err := s.execute(ctx, line, stdin, most, fileTimeout)
	if err != nil {
		return nil, fmt.Errorf("couldn't %s %s: %w", what, path, err)
	}
	switch output.Exit {
	case 0:
		return output.Stdout, nil
	case 65:
		return nil, invalid("%s is not a regular file", path)
	}
	said := string(bytes.TrimSpace(output.Stderr))
	kind := errScript
	for text, known := range map[string]error{
		"No such file or directory": fs.ErrNotExist, "Permission denied": fs.ErrPermission,
		"Operation not permitted": fs.ErrPermission, "No space left on device": tallystick.ErrNoSpace, "Disk quota exceeded": tallystick.ErrNoSpace,
	} {
		if strings.HasSuffix(said, text) {
			kind = known
		}
	}
	return nil, fmt.Errorf("couldn't %s %s on the host %s: %w (status %d: %.300q)", what, path, s.config.Name, kind, output.Exit, said)
}

// ReadFile reads a regular file of at most limit bytes.
func (s *SSH) ReadFile(ctx context.Context, path string, limit int64) ([]byte, error) {
	if err := usable(ctx, path); err != nil {
		return nil, err
	}
	content, err := s.do(ctx, "read", path, shell(readScript, path, strconv.FormatInt(limit+1, 10)), nil, int(limit)+1)
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > limit {
		return nil, tooLong(path, limit)
	}
	return content, nil
}

// Stat says what is at path.
func (s *SSH) Stat(ctx context.Context, path string) (driver.FileInfo, error) {
	if err := usable(ctx, path); err != nil {
		return driver.FileInfo{}, err
	}
	text, err := s.do(ctx, "look at", path, shell(statScript, path), nil, maxOutput)
	if err != nil {
		return driver.FileInfo{}, err
	}
	return readStat(string(text))
}

// readStat reads what statScript prints, which comes from another machine.
func readStat(text string) (driver.FileInfo, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 8 {
		return driver.FileInfo{}, invalid("couldn't understand what stat says of a file")
	}
	size, err := strconv.ParseInt(lines[0], 10, 64)
	mode, errMode := strconv.ParseUint(lines[1], 16, 32)
	modified, errTime := strconv.ParseInt(lines[2], 10, 64)
	if err := errors.Join(err, errMode, errTime); err != nil || size < 0 {
		return driver.FileInfo{}, invalid("couldn't understand what stat says of a file")
	}
	info := driver.FileInfo{Size: size, Mode: fs.FileMode(mode) & fs.ModePerm, Modified: time.Unix(modified, 0), Owner: lines[5], Group: lines[6]}
	if mode&0o170000 == 0o040000 { // S_IFMT and S_IFDIR of inode(7)
		info.Mode |= fs.ModeDir
	}
	const nobody = "UNKNOWN" // what stat calls those without a name
	if info.Owner == nobody {
		info.Owner = lines[3]
	}
	if info.Group == nobody {
		info.Group = lines[4]
	}
	return info, nil
}

// WriteFile stages the content beside the file and renames it.
func (s *SSH) WriteFile(ctx context.Context, path string, content []byte, mode fs.FileMode) error {
	return s.write(ctx, path, content, mode, "")
}

// WriteLike does so for a file that only those may read who may read another one.
func (s *SSH) WriteLike(ctx context.Context, path string, content []byte, like string) error {
	if err := usable(ctx, like); err != nil {
		return err
	}
	return s.write(ctx, path, content, 0, like)
}

func (s *SSH) write(ctx context.Context, path string, content []byte, mode fs.FileMode, like string) error {
	if err := usable(ctx, path); err != nil {
		return err
	}
	line := shell(writeScript, path, strconv.FormatUint(uint64(mode.Perm()), 8), strconv.Itoa(len(content)), like)
	_, err := s.do(ctx, "write", path, line, content, maxOutput)
	return err
}

// Remove removes a file, or a link and not what it leads to.
func (s *SSH) Remove(ctx context.Context, path string) error {
	if err := usable(ctx, path); err != nil {
		return err
	}
	_, err := s.do(ctx, "remove", path, shell(removeScript, path), nil, maxOutput)
	return err
}

// runScript finds a program and runs it, in a group of its own that is ended with it. When
// it cannot be begun, the script says so behind a word that no program knows.
const runScript = common + `dir=$1 word=$2 seconds=$3 variables=$4
program=
shift 4
cd -- "$dir" 2>/dev/null || { echo "$word directory" >&2; exit 125; }
eval "name=\${$((variables + 1))}"
case $name in
/*) if [ -f "$name" ] && [ -x "$name" ]; then program=$name; fi ;;
*)
	IFS=:
	for d in $PATH; do
		if [ -f "$d/$name" ] && [ -x "$d/$name" ]; then program=$d/$name; break; fi
	done
	unset IFS
	;;
esac
[ "$program" ] || { echo "$word program" >&2; exit 125; }
exec env -i "PATH=$PATH" LANG=C timeout -s KILL "$seconds" env -- "$@"`

// Run runs a command to its end. One that takes too long gives what it has said, Exit -1
// and an error that wraps os.ErrDeadlineExceeded. One whose connection is lost goes on there.
func (s *SSH) Run(ctx context.Context, c driver.Command) (driver.Output, error) {
	if err := runnable(ctx, &c); err != nil {
		return driver.Output{}, err
	}
	for _, variable := range c.Env {
		if !strings.Contains(variable, "=") {
			return driver.Output{}, invalid("%q is no variable of the environment", variable)
		}
	}
	word := "tallystick-" + rand.Text()
	arguments := []string{c.Dir, word, strconv.FormatFloat(c.Timeout.Seconds(), 'f', 3, 64), strconv.Itoa(len(c.Env))}
	began := time.Now()
	output, err := s.execute(ctx, shell(runScript, append(append(arguments, c.Env...), c.Args...)...), c.Stdin, maxOutput, c.Timeout)
	if err != nil {
		return output, err
	}
	switch said := string(bytes.TrimSpace(output.Stderr)); {
	case output.Exit == 125 && said == word+" directory":
		return driver.Output{}, fmt.Errorf("couldn't run %s in %s: %w", c.Args[0], c.Dir, os.ErrNotExist)
	case output.Exit == 125 && said == word+" program":
		return driver.Output{}, noProgram(c.Args[0])
	case output.Exit == -1 && time.Since(began) >= c.Timeout:
		return output, tooSlow(c)
	}
	return output, nil
}
