// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/tallystick/tallystick"
)

// maxPages bounds one list, so that a service that sends us round in a circle is left.
const maxPages = 100_000

// A page is the end of one page of a list.
type page struct {
	Next  string // @odata.nextLink: the next page; "" after the last
	Delta string // @odata.deltaLink: where a delta query goes on later; after its last page
}

// list calls each with every element of a list, page by page ("Paging Microsoft Graph data").
// It holds one element at a time. An error of each ends it. Where it ends with an error, what
// was given on before was good.
func (c *client) list(ctx context.Context, path string, query url.Values, each func(json.RawMessage) error) error {
	link := c.url(path, query).String()
	for range maxPages {
		p, err := c.page(ctx, link, each)
		if err != nil || p.Next == "" {
			return err
		}
		if p.Next == link {
			return fmt.Errorf("%w: a page of %s leads to itself", tallystick.ErrUnavailable, c.base.Host)
		}
		link = p.Next
	}
	return fmt.Errorf("%w: a list of %s has more than %d pages", tallystick.ErrUnavailable, c.base.Host, maxPages)
}

// page reads one page. A link to another host is ErrInvalid, and not asked.
func (c *client) page(ctx context.Context, link string, each func(json.RawMessage) error) (page, error) {
	u, err := url.Parse(link)
	if err != nil {
		return page{}, invalid("an answer of %s leads to what is not a URL", c.base.Host)
	}
	response, err := c.do(ctx, http.MethodGet, u, nil)
	if err != nil {
		return page{}, err
	}
	defer response.Body.Close()
	var p page
	var failed error // of each
	err = p.read(json.NewDecoder(response.Body), func(element json.RawMessage) error {
		failed = each(element)
		return failed
	})
	switch {
	case failed != nil:
		return page{}, failed
	case err != nil:
		return page{}, c.unread(ctx, err)
	}
	return p, nil
}

// read takes the members of a page as they come.
func (p *page) read(d *json.Decoder, each func(json.RawMessage) error) error {
	if err := delim(d, '{'); err != nil {
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		switch name {
		case "value":
			err = p.elements(d, each)
		case "@odata.nextLink":
			err = d.Decode(&p.Next)
		case "@odata.deltaLink":
			err = d.Decode(&p.Delta)
		default:
			var other json.RawMessage
			err = d.Decode(&other)
		}
		if err != nil {
			return err
		}
	}
	return delim(d, '}')
}

func (p *page) elements(d *json.Decoder, each func(json.RawMessage) error) error {
	if err := delim(d, '['); err != nil {
		return err
	}
	for d.More() {
		var element json.RawMessage
		if err := d.Decode(&element); err != nil {
			return err
		}
		if err := each(element); err != nil {
			return err
		}
	}
	return delim(d, ']')
}

// delim reads a delimiter.
func delim(d *json.Decoder, want json.Delim) error {
	got, err := d.Token()
	if err == nil && got != want {
		err = fmt.Errorf("%v where a list has %v", got, want)
	}
	return err
}
