// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// A skiptoken says where the next page begins and when it was given out. Graph's is
// opaque; so is this one, as far as clients are concerned.
func (g *graphRequest) skipToken(cursor string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(g.now.UnixMilli(), 36) + "|" + cursor))
}

// cursor returns what the request's skiptoken says, or "" on the first page.
func (g *graphRequest) cursor() (string, *graphError) {
	token := g.query.Get("$skiptoken")
	if token == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	given, cursor, ok := strings.Cut(string(raw), "|")
	at, errAt := strconv.ParseInt(given, 36, 64)
	if err != nil || !ok || errAt != nil {
		return "", errBadRequest("The specified page token value is not valid.")
	}
	if life := g.world.faults.Load().SkipTokenLife; life > 0 && g.now.Sub(time.UnixMilli(at)) > life {
		return "", &graphError{http.StatusBadRequest, "Directory_ExpiredPageToken", "The specified page token value has expired and can no longer be included in your request."}
	}
	return cursor, nil
}

// index reads a cursor that is a position in a list.
func (g *graphRequest) index() (int, *graphError) {
	cursor, err := g.cursor()
	if err != nil || cursor == "" {
		return 0, err
	}
	at, failed := strconv.Atoi(cursor)
	if failed != nil || at < 0 {
		return 0, errBadRequest("The specified page token value is not valid.")
	}
	return at, nil
}

// top returns the size of a page.
func (g *graphRequest) top(usual, most int) (int, *graphError) {
	text := g.query.Get("$top")
	if text == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, errBadRequest("Invalid page size specified: '" + text + "'. Must be between 1 and " + strconv.Itoa(most) + " inclusive.")
	}
	return n, nil
}

// link is the address of this call with one option set and others taken away.
func (g *graphRequest) link(option, value string, without ...string) string {
	query := make(map[string]string, len(g.query))
	for name := range g.query {
		query[name] = g.query.Get(name)
	}
	for _, name := range without {
		delete(query, name)
	}
	query[option] = value
	return g.base + "/" + strings.Join(g.path, "/") + "?" + encodeOptions(query)
}

// selected returns what $select names, or nil.
func (g *graphRequest) selected() []string {
	text := g.query.Get("$select")
	if text == "" {
		return nil
	}
	names := strings.Split(text, ",")
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	return names
}

// filter reads $filter.
func (g *graphRequest) filter() ([]term, *graphError) {
	terms, ok := parseFilter(g.query.Get("$filter"))
	if !ok {
		return nil, &graphError{http.StatusBadRequest, "BadRequest", "Invalid filter clause: " + g.query.Get("$filter")}
	}
	return terms, nil
}

// A listing is a page on its way.
type listing struct {
	jsonWriter
	g *graphRequest
}

// list begins a page of a collection; each element is written at depth 1.
func (g *graphRequest) list(collection string) *listing {
	l := &listing{g: g}
	l.b = make([]byte, 0, 4096)
	l.b = append(l.b, `{"@odata.context":"`+g.base+`/$metadata#`+collection+`","value":[`...)
	return l
}

// end closes it with a link, if there is one.
func (l *listing) end(name, link string) (reply, *graphError) {
	l.b = append(l.b, ']')
	if link != "" {
		l.b = append(l.b, `,"`+name+`":`...)
		l.string(link)
	}
	l.b = append(l.b, '}')
	return reply{http.StatusOK, l.b}, nil
}

// one begins the answer that is a single object, with its context.
func (g *graphRequest) one(collection string) *jsonWriter {
	j := &jsonWriter{}
	j.open()
	j.name("@odata.context")
	j.string(g.base + "/$metadata#" + collection + "/$entity")
	return j
}

// encodeOptions writes options in order, with the dollar as it is.
func encodeOptions(query map[string]string) string {
	values := url.Values{}
	for name, value := range query {
		values.Set(name, value)
	}
	return strings.ReplaceAll(values.Encode(), "%24", "$")
}
