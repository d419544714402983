"""What tests share and no test is: data, small models, requests, and what answers look like."""
