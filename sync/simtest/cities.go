package simtest

import (
	"math"
	"time"
)

// city is a place of nodes: degrees north and east, and its share of all nodes.
type city struct {
	name        string
	north, east float64
	share       float64
}

// cities are the regions, the largest shares not first: a cut at the first n is a
// cluster on fewer continents.
var cities = []city{
	{"Ashburn", 39.0, -77.0, .20},
	{"Amsterdam", 52.4, 4.9, .12},
	{"London", 51.5, 0.0, .10},
	{"Frankfurt", 50.1, 8.7, .10},
	{"Chicago", 41.9, -87.6, .08},
	{"San Jose", 37.3, -121.9, .10},
	{"São Paulo", -23.5, -46.6, .06},
	{"Johannesburg", -26.2, 28.0, .03},
	{"Singapore", 1.3, 103.8, .08},
	{"Tokyo", 35.7, 139.7, .06},
	{"Sydney", -33.9, 151.2, .05},
	{"Mumbai", 19.0, 72.8, .02},
}

// Regions is the number of cities that there are.
const Regions = 12

// Latencies: fibre carries light at 200 km/ms, and its way is longer than the great
// circle by detour.
const (
	earthRadius   = 6371.0 // km
	fibre         = 200.0  // km/ms
	detour        = 1.4
	lastMile      = 500 * time.Microsecond
	withinRegion  = 300 * time.Microsecond
	degreesToRads = math.Pi / 180
)

// latency returns the time one way between two cities.
func latency(a, b city) time.Duration {
	if a == b {
		return withinRegion
	}
	north, east := (b.north-a.north)*degreesToRads, (b.east-a.east)*degreesToRads
	h := sq(math.Sin(north/2)) + math.Cos(a.north*degreesToRads)*math.Cos(b.north*degreesToRads)*sq(math.Sin(east/2))
	km := 2 * earthRadius * math.Asin(math.Sqrt(h))
	return lastMile + time.Duration(km/fibre*detour*float64(time.Millisecond))
}

func sq(x float64) float64 { return x * x }

// latencies is the table of all cities.
func latencies() (table [Regions][Regions]time.Duration) {
	for i, a := range cities {
		for j, b := range cities {
			table[i][j] = latency(a, b)
		}
	}
	return table
}

// regionAt returns the region of the node at that place, 0 to below 1, in a list in which
// each of the first regions has its share.
func regionAt(place float64, regions int) (region int) {
	total := 0.0
	for _, c := range cities[:regions] {
		total += c.share
	}
	for at := place * total; region < regions-1 && at >= cities[region].share; region++ {
		at -= cities[region].share
	}
	return region
}
