"""Safety: are harmful requests refused, and harmless ones that look alike answered?"""
