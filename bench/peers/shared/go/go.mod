module tidemill/peers/driver

go 1.25
