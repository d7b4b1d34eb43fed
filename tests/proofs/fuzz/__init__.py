"""`python -m proofs.fuzz`: millions of requests that nobody sends on purpose, through the real code.

    headers, surroundings   what is sent, grown from valid requests or from nothing, by a seed
    reference               what must come of it, decided once more by hand, from the documents alone
    installation            a real database with pairs, and real authenticators over it
    lanes, sockets          ways for a request to the code: the authenticator, both adapters, real servers
    campaign, books         playing the inputs, and what must be true of the database afterwards

Here: what no test that names its case would think of. Not here: cases with names (`tests/middleware`, `conformance`).
"""
